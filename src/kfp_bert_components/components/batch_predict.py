"""The component that predicts a table, or one shard of it."""

from typing import Dict

from kfp.dsl import Dataset, Input, Model, Output

from kfp_bert_components.components._images import tensorflow_component


@tensorflow_component
def batch_predict(
    predictions: Output[Dataset],
    table: str = "",
    data: Input[Dataset] = None,
    model_uri: str = "",
    model: Input[Model] = None,
    output: str = "",
    text_column: str = "text",
    pair_column: str = "",
    output_format: str = "parquet",
    prefix: str = "",
    num_shards: int = 1,
    shard_index: int = 0,
    file_format: str = "auto",
    encoding: str = "auto",
    delimiter: str = "auto",
    skip_rows: int = 0,
    header: str = "auto",
    quoting: str = "auto",
    unreadable: str = "keep",
    part_rows: int = 100000,
    run_on: str = "pod",
    job_project: str = "",
    job_location: str = "",
    job_staging: str = "",
    job_image: str = "",
    job_machine_type: str = "n1-standard-8",
    job_accelerator_type: str = "",
    job_accelerator_count: int = 0,
    job_replicas: int = 1,
    job_service_account: str = "",
    job_labels: Dict[str, str] = {},
    job_api_endpoint: str = "",
    settings: Dict = {},
):
    """Predict each row of a table with a model; streaming, resumable, and in shards for what outgrows a pod.

    Give the table as `table` or `data`, and the model as `model_uri` or `model`. A champion or a table at an address
    may change while the address stays: turn caching off for this step then.

    Args:
        table: gs:// or s3:// URI, or path, of CSV, TSV, JSONL, JSON or Parquet: a file or a folder of files; in a
            bucket a glob too.
        data: The same as an artifact, such as data of fetch_gcs_data.
        model_uri: gs:// or s3:// URI, or folder, of a registry (its champion) or of one of its versions, such as
            gs://bucket/registry/versions/3; of a model bundle; or of served versions (the newest).
        model: The same as an artifact, such as model of finetune_bert.
        output: gs:// or s3:// URI, or folder, to write to, empty or of an earlier try, which is gone on with; shards
            may share one. Default: the artifact, which is complete at the end or not there.
        text_column: Name of the column with the text, or its position such as "#1". Default: "text".
        pair_column: Name or position of the second text, for a model of pairs. Default: none.
        output_format: parquet or csv.
        prefix: What the names of our columns begin with, for tables that have some of these. Default: nothing.
        num_shards: In how many shards the table is predicted, each by a step of its own. Default: 1.
        shard_index: Which of them this step predicts, from 0 on. Default: 0.
        file_format: auto, csv, tsv, jsonl or parquet. Default: found out file by file.
        encoding: auto, or a codec such as "cp1252". Default: found out file by file.
        delimiter: auto, or one character; "\\t" is a tab. Default: found out file by file.
        skip_rows: Lines at the start of each CSV file that are no part of the table. Default: 0; lines above
            the one that names the columns are found out.
        header: auto, yes or no: whether the first row of a CSV file names the columns.
        quoting: auto, double, strict (double, and a cell may hold lines that look like rows of the file),
            backslash, single (in '), single-backslash or none. Default: found out file by file.
        unreadable: Rows that don't fit the table or its encoding: keep answers those that can be mended, and writes the
            others without an answer; error stops; drop leaves both out and counts them. Default: keep.
        part_rows: Most rows of one file of the output; a part also ends after 5 minutes. Default: 100,000.
        run_on: pod, or ai_platform for a batch prediction job of AI Platform, which the step starts and follows. It
            answers each different text once; the table is read, and the output written, by the step. Where the step is
            killed, the job goes on until all texts are answered, or clean_up_run cancels it. Default: pod.
        job_project: Id of the project that the job runs in.
        job_location: Region that the job runs in, such as europe-west4.
        job_staging: gs:// folder for the job's model, texts and answers.
        job_image: Serving container of the job. Empty: the prebuilt TensorFlow 2.15 one.
        job_machine_type: Machine of each replica.
        job_accelerator_type: Accelerator of each replica, such as NVIDIA_TESLA_T4. Empty: none.
        job_accelerator_count: Accelerators in each replica.
        job_replicas: Machines that predict.
        job_service_account: E-mail of the account that the job runs as. Empty: the default one.
        job_labels: Labels of the job.
        job_api_endpoint: Another address of the API; http:// only on this machine, for tests.
        settings: Any of the parameters above by name, such as {"delimiter": ";"}, but for tables, models and output;
            what it names wins over them. Default: none.

    Returns:
        predictions: All columns of the table, and label, score, probabilities, reason (why there is no answer), source,
            source_row, model_version and model_fingerprint, in parts.
    """

    from kfp_bert_components.components._task import remember_stores
    from kfp_bert_components.errors import UserError
    from kfp_bert_components.origin import here
    from kfp_bert_components.prediction import PredictionSettings
    from kfp_bert_components.steps.batch_predict import batch_predict
    from kfp_bert_components.validation import with_further

    remember_stores(data, model)

    def given(address, artifact, names):
        if bool(address) == bool(artifact):
            raise UserError(f"Give {names}, one of the two.")
        return address or artifact.path

    values = with_further(
        settings,
        text_column=text_column,
        pair_column=pair_column,
        output_format=output_format,
        prefix=prefix,
        num_shards=num_shards,
        shard_index=shard_index,
        file_format=file_format,
        encoding=encoding,
        delimiter=delimiter,
        skip_rows=skip_rows,
        header=header,
        quoting=quoting,
        unreadable=unreadable,
        part_rows=part_rows,
        run_on=run_on,
        job_project=job_project,
        job_location=job_location,
        job_staging=job_staging,
        job_image=job_image,
        job_machine_type=job_machine_type,
        job_accelerator_type=job_accelerator_type,
        job_accelerator_count=job_accelerator_count,
        job_replicas=job_replicas,
        job_service_account=job_service_account,
        job_labels=job_labels,
        job_api_endpoint=job_api_endpoint,
    )
    job = {name: values.pop(name) for name in list(values) if name.startswith("job_")}
    job["run"] = here(predictions.uri).label
    run_on = values.pop("run_on")
    found, predictor = batch_predict(
        given(table, data, "table or data"),
        output or predictions.path,
        given(model_uri, model, "model_uri or model"),
        PredictionSettings(**values),
        resumable=bool(output),
        run_on=run_on,
        **{name.removeprefix("job_"): value for name, value in job.items()},
    )
    if output:
        predictions.uri = output
    predictions.metadata["rows"] = found.rows
    predictions.metadata["rows_without_answer"] = found.without_text + found.unreadable
    predictions.metadata["rows_left_out"] = found.dropped
    predictions.metadata["labels"] = predictor.labels
    predictions.metadata["model_version"] = predictor.version
    predictions.metadata["model_fingerprint"] = predictor.fingerprint
