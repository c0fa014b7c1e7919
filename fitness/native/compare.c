/* One streaming pass over an output and its reference that says how wrong it is.
 *
 * e = max(|got - y| - slack[row], 0), s = e / (|y| + half_rms[row]); an element is beyond where s > limit or where only one of
 * got and y is finite, or both are not but differ. NaN equals NaN. Rows run along the last axis.
 * The vector pass only decides whether a segment holds anything beyond; such segments, and those with an error that is not
 * finite (an infinite y makes any allowance infinite), are looked at again element by element. No comparison is written so that a
 * NaN could pass it.
 */

#include <float.h>
#include <math.h>
#include <stdint.h>

#define SEGMENT 1024 /* elements: small enough that a second look finds both arrays in the first-level cache */

typedef struct {
    double max_s;            /* largest s over finite elements */
    double sum_e2;           /* sum of e*e over finite elements */
    int64_t worst;           /* flat index of max_s, -1 where there is none */
    int64_t beyond;          /* elements beyond, mismatched ones included */
    int64_t first;           /* flat index of the first of them, -1 */
    int64_t mismatched;      /* elements whose finiteness, sign of infinity or NaN-ness differs */
    int64_t first_mismatched; /* -1 */
} comparison;

#define DEFINE(NAME, GOT, REF, REAL, ABS)                                                                              \
    static void NAME##_closely(const GOT *got, const REF *ref, int64_t count, double half, double slack, double limit, \
                               int64_t offset, comparison *out) {                                                      \
        for (int64_t i = 0; i < count; i++) {                                                                          \
            double g = got[i], y = ref[i];                                                                             \
            int wrong;                                                                                                 \
            if (isfinite(g) && isfinite(y)) {                                                                          \
                double e = fabs(g - y) - slack, d = fabs(y) + half;                                                    \
                e = e > 0 ? e : 0;                                                                                     \
                double s = e > 0 ? e / d : 0;                                                                          \
                out->sum_e2 += e * e;                                                                                  \
                wrong = !(s <= limit);                                                                                 \
                if (s > out->max_s) {                                                                                  \
                    out->max_s = s;                                                                                    \
                    out->worst = offset + i;                                                                           \
                }                                                                                                      \
            } else {                                                                                                   \
                wrong = !((isnan(g) && isnan(y)) || g == y);                                                           \
                if (wrong && !out->mismatched++)                                                                       \
                    out->first_mismatched = offset + i;                                                                \
            }                                                                                                          \
            if (wrong && !out->beyond++)                                                                               \
                out->first = offset + i;                                                                               \
        }                                                                                                              \
    }                                                                                                                  \
    void evo_compare_##NAME(const GOT *got, const REF *ref, int64_t rows, int64_t cols, const double *half_rms,        \
                            const double *slacks, double limit, comparison *out) {                                     \
        *out = (comparison){0, 0, -1, 0, -1, 0, -1};                                                                   \
        for (int64_t row = 0; row < rows; row++) {                                                                     \
            const double slack = slacks ? slacks[row] : 0;                                                             \
            const REAL h = (REAL)half_rms[row], allowance = (REAL)slack, l = (REAL)limit;                              \
            for (int64_t at = 0; at < cols; at += SEGMENT) {                                                           \
                const int64_t offset = row * cols + at, count = cols - at < SEGMENT ? cols - at : SEGMENT;             \
                const GOT *g = got + offset;                                                                           \
                const REF *y = ref + offset;                                                                           \
                int32_t wrong = 0;                                                                                     \
                REAL largest = 0, sum = 0;                                                                             \
                _Pragma("omp simd reduction(+ : wrong, sum) reduction(max : largest)")                                 \
                for (int64_t i = 0; i < count; i++) {                                                                  \
                    REAL e = ABS((REAL)g[i] - (REAL)y[i]), d = ABS((REAL)y[i]) + h;                                    \
                    wrong += !(e <= l * d + allowance) | !(e <= (REAL)LARGEST_##NAME);                                 \
                    e = e - allowance > 0 ? e - allowance : 0;                                                         \
                    REAL s = e / (d + (REAL)TINY_##NAME);                                                              \
                    sum += e * e;                                                                                      \
                    largest = s > largest ? s : largest;                                                               \
                }                                                                                                      \
                if (wrong) {                                                                                           \
                    NAME##_closely(g, y, count, half_rms[row], slack, limit, offset, out);                             \
                    continue;                                                                                          \
                }                                                                                                      \
                out->sum_e2 += (double)sum;                                                                            \
                if (largest > out->max_s) {                                                                            \
                    out->max_s = (double)largest;                                                                      \
                    out->worst = offset;                                                                               \
                    for (int64_t i = 0; i < count; i++) {                                                              \
                        double e = fabs((double)g[i] - (double)y[i]) - slack;                                          \
                        if (e >= 0.999 * (double)largest * (fabs((double)y[i]) + half_rms[row])) {                     \
                            out->worst = offset + i;                                                                   \
                            break;                                                                                     \
                        }                                                                                              \
                    }                                                                                                  \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

/* LARGEST: above it an error is not finite. TINY keeps 0/0 out of the quotient, far below any magnitude that decides something. */
#define LARGEST_f32_f32 FLT_MAX
#define LARGEST_f32_f64 DBL_MAX
#define LARGEST_f64_f64 DBL_MAX
#define TINY_f32_f32 1e-37f
#define TINY_f32_f64 1e-300
#define TINY_f64_f64 1e-300

DEFINE(f32_f32, float, float, float, fabsf)
DEFINE(f32_f64, float, double, double, fabs)
DEFINE(f64_f64, double, double, double, fabs)
