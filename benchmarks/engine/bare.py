"""The bare loop: AsyncOpenAI, a semaphore, nothing stored. What the client itself costs.

python -m benchmarks.engine.bare URL CONCURRENCY CASES
"""

from __future__ import annotations

import asyncio
import sys

import httpx
import openai

from benchmarks.engine.control import question


async def main(url: str, concurrency: int, cases: int) -> None:
    limit = asyncio.Semaphore(concurrency)
    async with openai.AsyncOpenAI(
        api_key="none",
        base_url=url,
        max_retries=5,
        http_client=openai.DefaultAsyncHttpxClient(
            limits=httpx.Limits(max_connections=concurrency), trust_env=False
        ),
    ) as client:

        async def ask(index: int) -> str | None:
            async with limit:
                answer = await client.chat.completions.create(
                    model="bench", messages=[{"role": "user", "content": question(index)}]
                )
            return answer.choices[0].message.content

        answers = await asyncio.gather(*(ask(i) for i in range(cases)))
    if not all(answers):
        raise SystemExit("an answer is missing")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
