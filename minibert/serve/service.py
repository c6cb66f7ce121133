"""The models of a service and their queues: what every dialect asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minibert.errors import UnsupportedError
from minibert.forking import Lazy
from minibert.model import Model
from minibert.serve.batcher import Batcher, Job, Work
from minibert.serve.bounds import Bounds
from minibert.serve.fields import Body, flag, text
from minibert.serve.metrics import Metrics
from minibert.serve.refusals import CannotDo, NoSuchModel, Overloaded
from minibert.serve.work import Cutter

#: Answers of more pieces than this are written on another thread: the loop has other clients.
_LONG_ANSWER = 64
#: Seconds before anyone looks whether a client is still there.
_PATIENCE = 0.1


class Served:
    """A model, its name and its queue.

    Args:
        name: by which clients ask for it.
        model: opened.
        metrics: counts its passes.
        packed: as of `Batcher`.
    """

    def __init__(self, name: str, model: Model, metrics: Metrics, packed: bool) -> None:
        self.name: str = name
        self.model: Model = model
        self._metrics, self._packed = metrics, packed
        self._batchers = [Batcher(model.engine, metrics, name, packed=packed)]

    @property
    def batcher(self) -> Batcher:
        """Where its requests wait."""
        return self._batchers[0]

    @Lazy
    def token_heads(self) -> Batcher:
        """Where requests wait that ask for what its token heads make: another plan over the same tensors."""
        self._batchers.append(Batcher(self.model.all_rows, self._metrics, self.name, packed=self._packed))
        return self._batchers[-1]

    def stop(self) -> None:
        """Answer what waits, and end the threads."""
        for each in self._batchers:
            each.stop()


class Call:
    """A request that has been read: its body, and whether its client is still there.

    Args:
        body: the fields; empty for GET.
        size: bytes of it.
        gone: waits until the client has gone away.
    """

    def __init__(self, body: Body, size: int, gone: Callable[[], Any]) -> None:
        self.body: Body = body
        self.size: int = size
        self.gone: Callable[[], Any] = gone


class Room:
    """What a request takes of the memory that there is for bodies, from its first byte to its answer.

    Args:
        service: whose memory it is.

    Attributes:
        taken: bytes of the body that are there.
        more: whether some of it has yet to come.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.taken: int = 0
        self.more: bool = True

    def take(self, size: int) -> None:
        """Take so many bytes more.

        Raises:
            Overloaded: there are none left.
        """
        self._service.bytes += size
        self.taken += size
        if self._service.bytes > self._service.bounds.queue_bytes:
            raise self._service.overloaded()

    def __enter__(self) -> Room:
        """Nothing yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Give all of it back."""
        self._service.bytes -= self.taken


class Service:
    """Models by name, and what may be asked of them at once.

    Args:
        models: by name, at least one.
        bounds: what a request may have, and how many may wait.
        truncate: whether texts that are too long are cut where a request doesn't say.
        packed: as of `Batcher`.
    """

    def __init__(
        self, models: Mapping[str, Model], bounds: Bounds | None = None, *, truncate: bool = False, packed: bool = True
    ) -> None:
        self.bounds: Bounds = bounds or Bounds()
        self.truncate: bool = truncate
        self.metrics: Metrics = Metrics(lambda: self.waiting)
        self.waiting: int = 0
        self.bytes: int = 0
        self.models: dict[str, Served] = {
            name: Served(name, model, self.metrics, packed) for name, model in models.items()
        }

    def served(self, body: Body, able: Callable[[Model], Any] | None = None) -> Served:
        """The model that a body names; without a name, the first that is `able`.

        Raises:
            NoSuchModel: there is none of that name.
            CannotDo: it is not able, or none is.
        """
        name = text(body, "model")
        if name is not None and name not in self.models:
            raise NoSuchModel(f"there is no model {name!r:.80}: there are {', '.join(self.models)}")
        reasons = []
        for each in [self.models[name]] if name is not None else self.models.values():
            try:
                if able is not None:
                    able(each.model)
            except (CannotDo, UnsupportedError) as error:
                reasons.append(str(error))
            else:
                return each
        raise CannotDo(reasons[0])

    def cutter(self, served: Served, body: Body, default: bool | None = None) -> Cutter:
        """What makes tokens of a request's texts; `default`: whether they are cut, instead of the service's own."""
        truncate = flag(body, "truncate", self.truncate if default is None else default)
        return Cutter(served.model, self.bounds, truncate)

    def room(self) -> Room:
        """For the body of a request."""
        return Room(self)

    def overloaded(self) -> Overloaded:
        """The refusal of what there is no room for."""
        return Overloaded(f"{self.waiting} requests wait, no more may: ask again in a second")

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places of requests that wait or are at work.

        Raises:
            Overloaded: all are taken.
        """
        if self.waiting >= self.bounds.queue:
            raise self.overloaded()
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def answer(
        self,
        batcher: Batcher,
        call: Call,
        prepare: Callable[[], Work],
        write: Callable[[Any], Any],
    ) -> Any:
        """What `write` makes of the answer to some work, once it has been through the model.

        Args:
            batcher: of the model.
            call: the request.
            prepare: makes the work, on the model's thread.
            write: makes a response of the answer.

        Raises:
            Overloaded: as much waits as may wait.
        """
        loop = asyncio.get_running_loop()
        with self.place():
            job = Job(prepare, loop, call.size)
            watch = loop.call_later(_PATIENCE, self._watch, job, call)
            try:
                batcher.submit(job)
                finished = await job.future
                if len(job.work.pieces) > _LONG_ANSWER:
                    return await loop.run_in_executor(None, lambda: write(finished()))
                return write(finished())
            finally:
                job.cancelled = True  # whoever awaited it does no longer
                watch.cancel()

    def _watch(self, job: Job, call: Call) -> None:
        """Give a request up when its client goes away."""

        async def watch() -> None:
            gone = asyncio.ensure_future(call.gone())
            try:
                await asyncio.wait((gone, job.future), return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
            if not job.future.done():
                job.cancelled = True
                job.future.cancel()

        task = asyncio.ensure_future(watch())
        job.future.add_done_callback(lambda _: task)  # keeps it

    def warmup(self) -> None:
        """Pay now for what first answers would wait for."""
        for each in self.models.values():
            each.model.warmup()

    def stop(self) -> None:
        """Answer what waits, and end."""
        for each in self.models.values():
            each.stop()
