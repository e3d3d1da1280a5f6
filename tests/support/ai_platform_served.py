"""What AI Platform serves: the very model that was uploaded, for a fake that has none of its own."""

from pathlib import Path

from kfp_bert_components.steps.deploy_to_serving_directory import load
from kfp_bert_components.storage import download_folder, open_store


class Served:
    """Answers with the SavedModel that was uploaded; the versions in `wrong` answer backwards."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.models, self.wrong = scratch, {}, set()

    def __call__(self, artifact_uri, instances):
        parent, _, name = artifact_uri.rpartition("/")
        version = int(parent.split("/versions/")[1].split("/")[0])
        if version not in self.models:
            download_folder(open_store(parent), name, self.scratch / str(version))
            self.models[version] = load(self.scratch / str(version))
        answers = self.models[version](instances)
        for answer in answers if version in self.wrong else []:
            answer["probabilities"].reverse()
        return answers
