"""What a deploy writes into the bucket: the archive first, and last which version is in service."""

from __future__ import annotations

import sys

from glioscope.errors import IntegrityError
from serving import shelf
from serving.bucket import Bucket, BucketError
from serving.deployment.job import Done, Plan
from serving.mar import Mar


class Record:
    """The bucket of a deploy, if it has one."""

    def __init__(self, plan: Plan, mar: Mar) -> None:
        self._mar, self._name = mar, plan.name
        self._bucket = Bucket(plan.bucket, endpoint_url=plan.endpoint_url) if plan.bucket else None
        self._now = shelf.Current.of(mar, plan.name)
        self._before: shelf.Current | None = None
        self._begun = False

    def look(self) -> str | None:
        """The version that the bucket names as the one in service; None where it names none of this model.

        Raises
        ------
        BucketError
            The store refused or did not answer.
        """
        if self._bucket is None:
            return None
        try:
            self._before = shelf.read_current(self._bucket, denied_is_missing=True)
        except IntegrityError as error:  # this deploy will replace it
            print(f"warning: {error}", file=sys.stderr)
        return self._before.version if self._before and self._before.name == self._name else None

    def upload(self) -> Done:
        """Keep the archive in the bucket, where one is given."""
        if self._bucket is None:
            return Done("no bucket given", changed=False)
        name = self._mar.stored_name(self._name)
        sent = self._bucket.send(self._mar.path, name, sha256=self._mar.sha256)
        address = self._bucket.address(name)
        return Done(f"{address} {'sent and read back' if sent else 'is there already'}", sent)

    def write(self) -> Done:
        """Name the archive as the one in service."""
        if self._bucket is None:
            return Done("no bucket given", changed=False)
        address = self._bucket.address(shelf.CURRENT)
        if self._before == self._now:
            return Done(f"{address} names {self._mar.version} already", changed=False)
        self._begun = True
        shelf.write_current(self._bucket, self._now)
        return Done(f"{address} names {self._mar.version}")

    def put_back(self) -> str:
        """Undo :meth:`write`; returns a clause on what could not be undone, or nothing."""
        if self._bucket is None or not self._begun:
            return ""
        try:
            shelf.write_current(self._bucket, self._before)
        except BucketError as error:
            return f"; {error}, so servers that start may take {self._mar.version} from there. Run it again"
        return ""
