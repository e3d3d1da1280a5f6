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
    """Predict each row of a table with a model: streaming, resumable, and in shards if one pod is too small.

    Give the table as `table` or `data`, and the model as `model_uri` or `model`. The champion of a registry, or the
    table at an address, can change while the address stays the same. In this case turn off caching for this step.

    Args:
        table: gs:// or s3:// URI, or local path, of a file or a folder of files: CSV, TSV, JSONL, JSON or Parquet. In a
            bucket it can also be a glob.
        data: The table as an artifact, such as the output data of fetch_gcs_data.
        model_uri: gs:// or s3:// URI, or local folder, of a registry (its champion is used), of one of its versions
            (such as gs://bucket/registry/versions/3), of a model bundle, or of served versions (the newest is used).
        model: The model as an artifact, such as the output model of finetune_bert.
        output: gs:// or s3:// URI, or local folder, to write to. It must be empty or come from an earlier try, which
            this step then continues. Shards may share one folder. Default: the artifact, which is complete at the end
            or absent.
        text_column: Name of the column with the text, or its position such as "#1". Default: "text".
        pair_column: Name or position of the second text, for a model of pairs. Default: none.
        output_format: parquet or csv.
        prefix: Prefix for the names of the columns that this step adds, for a table that already has a column with such
            a name. Default: nothing.
        num_shards: Number of shards of the table; a separate step predicts each shard. Default: 1.
        shard_index: Index of the shard that this step predicts; the first shard is 0. Default: 0.
        file_format: auto, csv, tsv, jsonl or parquet. Default: auto, detected for each file.
        encoding: auto, or a codec such as "cp1252". Default: auto, detected for each file.
        delimiter: auto, or one character; "\\t" is a tab. Default: auto, detected for each file.
        skip_rows: Number of lines at the start of each CSV file that do not belong to the table. Default: 0; lines
            above the column names are detected.
        header: auto, yes or no: whether the first row of a CSV file names the columns.
        quoting: auto, double, strict (like double, but a cell may hold lines that look like rows of the file),
            backslash, single (quoted with '), single-backslash or none. Default: auto, detected for each file.
        unreadable: Rows that don't fit the table or its encoding: with keep, rows that can be repaired are answered,
            and the others are written without an answer; with error, the step stops; with drop, both kinds are left out
            and counted. Default: keep.
        part_rows: Largest number of rows in one file of the output; a file also ends after 5 minutes. Default: 100,000.
        run_on: pod, or ai_platform for a batch prediction job of AI Platform. This step reads the table, starts the
            job, waits for it, and writes the output. The job answers each different text once. If the step is killed,
            the job continues until it has answered all texts or clean_up_run cancels it. Default: pod.
        job_project: Id of the project that the job runs in.
        job_location: Region that the job runs in, such as europe-west4.
        job_staging: gs:// folder for the job's model, texts and answers.
        job_image: Serving container of the job. Empty: the prebuilt TensorFlow 2.15 container.
        job_machine_type: Machine of each replica.
        job_accelerator_type: Accelerator of each replica, such as NVIDIA_TESLA_T4. Empty: none.
        job_accelerator_count: Accelerators in each replica.
        job_replicas: Number of machines that predict.
        job_service_account: E-mail of the account that the job runs as. Empty: the default account.
        job_labels: Labels of the job.
        job_api_endpoint: Another address of the API. http:// is allowed only on this machine, for tests.
        settings: Values for the parameters above by name, such as {"delimiter": ";"}; they win over the parameters.
            Tables, models and output can't be given here. Default: none.

    Returns:
        predictions: One or more files with all columns of the table, and these: label, score, probabilities, reason
            (why there is no answer), source, source_row, model_version and model_fingerprint.
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
