"""KServe's Python server with transformers on torch: the peer of benchmarks/server.py.

KServe's own server for Hugging Face models is no package; it has a call of the model for each request, and torch's
no_grad. This one has the inference mode, and where more texts may be in a call, those of all requests that came while
the model worked are the next. Logs and gRPC are off.

Arguments: the checkpoint's folder, threads of torch, most texts in a call, and those of KServe, such as --http_port.
"""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import kserve
import torch
import transformers

FOLDER, THREADS, MOST = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Classifier(kserve.Model):
    """Text to label and probabilities."""

    def load(self) -> bool:
        torch.set_num_threads(THREADS)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
        self._model = transformers.AutoModelForSequenceClassification.from_pretrained(FOLDER).eval()
        self._labels = self._model.config.id2label
        self._waiting: asyncio.Queue[tuple[str, asyncio.Future]] = asyncio.Queue()
        self._thread, self._task = ThreadPoolExecutor(1), None
        self.ready = True
        return True

    async def predict(self, payload: dict, headers: dict | None = None) -> dict:
        loop = asyncio.get_running_loop()
        self._task = self._task or loop.create_task(self._work())
        asked = [(text, loop.create_future()) for text in payload["instances"]]
        for one in asked:
            self._waiting.put_nowait(one)
        return {"predictions": await asyncio.gather(*(future for _, future in asked))}

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MOST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            texts = [text for text, _ in batch]
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, texts)
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)

    def _answer(self, texts: list[str]) -> list[dict]:
        inputs = self._tokenizer(texts, max_length=128, truncation=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            rows = self._model(**inputs).logits.softmax(dim=-1).tolist()
        return [{"label": self._labels[row.index(max(row))], "score": max(row), "probabilities": row} for row in rows]


if __name__ == "__main__":
    model = Classifier("bert")
    model.load()
    server = kserve.ModelServer(enable_grpc=False, enable_latency_logging=False)
    logging.getLogger("uvicorn.access").disabled = True
    server.start([model])
