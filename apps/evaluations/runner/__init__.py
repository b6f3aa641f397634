"""The asynchronous client that fills a run's slots.

`loop.Session` claims shards and drives everything; `requests` says what is asked, `client` asks,
`answers` reads what came back, `problems` tells errors apart, `limits` shares an endpoint's limits
between workers, `writer` stores results under the lease's fence.
"""
