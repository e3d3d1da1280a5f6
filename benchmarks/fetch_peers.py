"""The same downloads with other tools."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

BUCKET = "bench"


def ours(folder: str, target: Path) -> None:
    """kfp_bert_components in this process."""
    from kfp_bert_components.fetch import fetch

    fetch([f"gs://{BUCKET}/{folder}/"], target)


def ours_on_s3(folder: str, target: Path) -> None:
    """The same from an S3 store."""
    from kfp_bert_components.fetch import fetch

    fetch([f"s3://{BUCKET}/{folder}/"], target)


def ours_as_command(folder: str, target: Path, scheme: str = "gs") -> None:
    """kfp_bert_components in a process of its own, imports and all."""
    code = (
        "import sys, pathlib; from kfp_bert_components.fetch import fetch; "
        "fetch([sys.argv[1]], pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, f"{scheme}://{BUCKET}/{folder}/", str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def gcloud(url: str, config: Path) -> Callable[[str, Path], None]:
    """`gcloud storage cp` with its default settings, which check hashes."""
    environment = {
        **os.environ,
        "CLOUDSDK_CONFIG": str(config),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{url}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_PROJECT": "bench",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
    }

    def run(folder: str, target: Path) -> None:
        target.mkdir()
        command = ["gcloud", "storage", "cp", "--recursive", f"gs://{BUCKET}/{folder}/*", str(target)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])

    return run


def transfer_manager_small(workers: int, kind: str, folder: str, target: Path) -> None:
    """transfer_manager.download_many with a setting."""
    from google.cloud import storage
    from google.cloud.storage import transfer_manager

    target.mkdir()
    bucket = storage.Client().bucket(BUCKET)
    blobs = list(bucket.list_blobs(prefix=f"{folder}/"))
    pairs = [(blob, str(target / Path(blob.name).name)) for blob in blobs]
    results = transfer_manager.download_many(pairs, worker_type=kind, max_workers=workers)
    failed = [result for result in results if isinstance(result, Exception)]
    if failed:
        raise failed[0]


def transfer_manager_large(workers: int, kind: str, chunk: int, folder: str, target: Path) -> None:
    """transfer_manager.download_chunks_concurrently with a setting."""
    from google.cloud import storage
    from google.cloud.storage import transfer_manager

    target.mkdir()
    for blob in storage.Client().bucket(BUCKET).list_blobs(prefix=f"{folder}/"):
        transfer_manager.download_chunks_concurrently(
            blob, str(target / Path(blob.name).name), chunk_size=chunk, worker_type=kind, max_workers=workers
        )


def obstore(url: str, at_once: int) -> Callable[[str, Path], None]:
    """obstore's asynchronous API, as many requests at once as given; it compares no checksum."""
    import obstore as library
    from obstore.store import GCSStore

    # It keeps its connections from one run to the next, as ours does.
    store = GCSStore(BUCKET, config={"base_url": url, "skip_signature": True}, client_options={"allow_http": True})

    async def download(folder: str, target: Path) -> None:
        limit = asyncio.Semaphore(at_once)

        async def one(name: str) -> None:
            async with limit:
                got = await library.get_async(store, name)
                data = await got.bytes_async()
            (target / Path(name).name).write_bytes(data)

        names = []
        async for page in library.list(store, prefix=f"{folder}/"):
            names += [entry["path"] for entry in page]
        await asyncio.gather(*(one(name) for name in names))

    def run(folder: str, target: Path) -> None:
        target.mkdir()
        asyncio.run(download(folder, target))

    return run


def boto3(url: str, workers: int, chunk: int) -> Callable[[str, Path], None]:
    """boto3's transfer manager with a setting; it keeps its connections from one run to the next."""
    import boto3 as library
    from botocore.config import Config
    from s3transfer.manager import TransferConfig, TransferManager

    client = library.client("s3", endpoint_url=url, config=Config(max_pool_connections=workers))
    config = TransferConfig(max_request_concurrency=workers, multipart_chunksize=chunk)

    def run(folder: str, target: Path) -> None:
        target.mkdir()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{folder}/")
        names = [entry["Key"] for page in pages for entry in page["Contents"]]
        with TransferManager(client, config) as manager:
            for future in [manager.download(BUCKET, name, str(target / Path(name).name)) for name in names]:
                future.result()

    return run


def aws(url: str) -> Callable[[str, Path], None]:
    """`aws s3 cp` with its default settings."""

    def run(folder: str, target: Path) -> None:
        command = ["aws", "--endpoint-url", url, "s3", "cp", "--recursive", "--only-show-errors"]
        done = subprocess.run(
            [*command, f"s3://{BUCKET}/{folder}/", str(target)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])

    return run
