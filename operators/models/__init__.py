"""Language models as a source of texts: who is asked, how often at once, for how much, and what is kept of it.

desk      the one counter that operators ask: picks a model, reserves, sends, retries, settles, keeps the answer
spec      what a model is and may be used for         client    one request through litellm
ledger    the dollar cap                              limits    requests at once, requests and tokens per minute
prices    dollars per token                           patience  retries, Retry-After, the deadline
cassette  answers kept on disk: cache, record, replay secrets   keys stay out of everything that is kept
"""
