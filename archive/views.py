"""The lineage's views: questions that a person asks with `sqlite3 run.db` and nothing else.

    sqlite3 run.db "select * from best"
    sqlite3 run.db "select * from ancestry where candidate = 40"

`convergence` numbers evaluated candidates; a budget counts re-measurements of elites besides, which are rows of `archive_events`.

They use plain SQL that every SQLite since 3.25 understands (no math functions: speedups are stored).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["VIEWS"]

ELITES = """
-- Who holds each cell now, with the estimate from all of its samples.
WITH latest AS (SELECT max(id) AS id FROM archive_events WHERE cell IS NOT NULL GROUP BY run, cell),
     newest AS (SELECT run, candidate, max(event) AS event FROM estimates GROUP BY run, candidate)
SELECT e.run AS run, e.cell AS cell, e.elite AS candidate, p.operator AS operator,
       CASE WHEN n.event IS NULL THEN v.speedup ELSE m.speedup END AS speedup,
       CASE WHEN n.event IS NULL THEN v.objective ELSE m.objective END AS objective,
       CASE WHEN n.event IS NULL THEN v.low ELSE m.low END AS low,
       CASE WHEN n.event IS NULL THEN v.high ELSE m.high END AS high,
       c.kernel AS kernel
FROM latest
JOIN archive_events e ON e.id = latest.id
JOIN candidates c ON c.run = e.run AND c.number = e.elite
JOIN proposals p ON p.run = c.run AND p.number = c.number
JOIN evaluations v ON v.id = c.evaluation
LEFT JOIN newest n ON n.run = c.run AND n.candidate = c.number
LEFT JOIN estimates m ON m.event = n.event AND m.candidate = n.candidate
"""

BEST = """
-- The best elite of each run, where it came from, and its newest certificate. A kernel that failed certification is passed over.
WITH RECURSIVE
  certified AS (SELECT max(id) AS id FROM certificates GROUP BY run, kernel),
  ranked AS (
    SELECT e.*, row_number() OVER (PARTITION BY e.run ORDER BY e.objective DESC, e.candidate) AS place
    FROM elites e
    WHERE NOT EXISTS (SELECT 1 FROM certificates f WHERE f.id IN (SELECT id FROM certified)
                      AND f.run = e.run AND f.kernel = e.kernel AND f.ok = 0)),
  winner AS (SELECT * FROM ranked WHERE place = 1),
  path(run, candidate, depth, text) AS (
    SELECT w.run, w.candidate, 0, w.candidate || ' ' || w.operator FROM winner w
    UNION ALL
    SELECT path.run, a.parent, path.depth + 1, a.parent || ' ' || p.operator || ' > ' || path.text
    FROM path
    JOIN parents a ON a.run = path.run AND a.child = path.candidate AND a.position = 0 AND a.parent < a.child
    JOIN proposals p ON p.run = a.run AND p.number = a.parent)
SELECT w.run AS run, w.candidate AS candidate, w.operator AS operator,
       (SELECT group_concat(parent, ', ') FROM (SELECT a.parent AS parent FROM parents a
        WHERE a.run = w.run AND a.child = w.candidate ORDER BY a.position)) AS parents,
       w.speedup AS speedup, w.objective AS objective, w.low AS low, w.high AS high,
       f.speedup AS certified_speedup, f.low AS certified_low, f.high AS certified_high, f.strongest AS certified_against,
       f.roofline_share AS roofline_share, w.cell AS cell, w.kernel AS kernel,
       (SELECT text FROM path WHERE path.run = w.run ORDER BY depth DESC LIMIT 1) AS ancestry,
       r.problem AS problem, r.target AS target, k.source AS source
FROM winner w
JOIN runs r ON r.id = w.run
JOIN kernels k ON k.id = w.kernel
LEFT JOIN certificates f ON f.run = w.run AND f.kernel = w.kernel AND f.id IN (SELECT id FROM certified)
"""

CONVERGENCE = """
-- One row per evaluated candidate, in the order of commits. Identical kernels and configurations outside a space cost no evaluation.
SELECT c.run AS run, row_number() OVER following AS evaluation, c.seconds AS seconds, c.number AS candidate, v.outcome AS outcome,
       v.objective AS objective, max(v.objective) OVER following AS best_objective, max(v.speedup) OVER following AS best_speedup
FROM candidates c JOIN evaluations v ON v.id = c.evaluation
WHERE v.outcome <> 'infeasible' AND v.reused = ''
WINDOW following AS (PARTITION BY c.run ORDER BY c.id)
"""

ANCESTRY = """
-- Every ancestor of every candidate; depth: the shortest way to it; operator: what made the ancestor. The recursion depends on
-- the candidate, so that `where candidate = 40` follows that one's line only (CROSS JOIN keeps SQLite to this order).
SELECT c.run AS run, c.number AS candidate, json_extract(a.value, '$[0]') AS ancestor, json_extract(a.value, '$[1]') AS depth,
       p.operator AS operator
FROM candidates c
CROSS JOIN json_each((
    WITH RECURSIVE line(ancestor, depth) AS (
        SELECT parent, 1 FROM parents WHERE run = c.run AND child = c.number
        UNION
        SELECT up.parent, line.depth + 1
        FROM line JOIN parents up ON up.run = c.run AND up.child = line.ancestor AND up.parent < up.child)
    SELECT json_group_array(json_array(ancestor, depth))
    FROM (SELECT ancestor, min(depth) AS depth FROM line GROUP BY ancestor ORDER BY 2, 1))) a
CROSS JOIN proposals p ON p.run = c.run AND p.number = json_extract(a.value, '$[0]')
"""

VIEWS: Mapping[str, str] = {"elites": ELITES, "best": BEST, "convergence": CONVERGENCE, "ancestry": ANCESTRY}
