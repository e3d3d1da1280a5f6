"""What kind of file system a path is on, and whether locks between machines can be trusted there."""

from __future__ import annotations

import re
from pathlib import Path

from kfp_bert_components.errors import UserError

MOUNTS = Path("/proc/self/mounts")


def file_system(path: Path) -> str:
    """The type of the file system that holds `path` ("ext4", "nfs4", "fuse.gcsfuse"); "" where unknown."""
    if not MOUNTS.exists():
        return ""
    path = path.absolute()
    best, kind = "", ""
    for line in MOUNTS.read_text(errors="replace").splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[1])
        if (path == Path(point) or Path(point) in path.parents) and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def is_fuse(path: Path) -> bool:
    """Whether `path` lies on a FUSE mount, as a Cloud Storage artifact folder on Vertex AI does."""
    return file_system(path).startswith("fuse")


def refuse_unsafe_mount(root: Path) -> None:
    """Raise UserError where a folder can't keep a store's promises; say what a network mount relies on."""
    kind = file_system(root)
    if "gcsfuse" in kind or "rclone" in kind or "s3fs" in kind:
        advice = (
            "the bucket itself, as gs://bucket/folder" if "gcsfuse" in kind else "a folder on a disk, gs:// or s3://"
        )
        raise UserError(
            f"{root} is a mounted bucket ({kind}), where files can't be locked between machines: give {advice}."
        )
    if kind in ("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "glusterfs", "fuse.glusterfs"):
        print(
            f"{root} is on {kind}: writing safely from several machines relies on flock being honoured by "
            "the server (NFS: not mounted with nolock or local_lock)."
        )
