"""Whether a password is right. Hashing takes a tenth of a second and more on a Raspberry Pi, so it is done in threads that stand
back for everything else, and what was right once is remembered under a key that dies with the process.

A thousand devices that come back at once should have made passwords (``redcar user add --generate``).
"""

import asyncio
import hashlib
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

from gateway.hub.users import NOBODY, Secret

_THREADS = max(2, min(4, os.cpu_count() or 2))  # scrypt takes 16 MB in each


class Passwords:
    """The threads, and what they found."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: dict[str, bytes] = {}  # user -> proof
        self._trying: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "scrypt", _step_back)

    async def fit(self, name: str, secret: Secret, password: bytes) -> bool:
        """Whether this is the password of that user."""
        proof = hashlib.blake2b(repr((name, secret, password)).encode(), key=self._key).digest()
        if self._right.get(name) == proof:
            return True
        trial = self._trying.get(proof)
        if trial is None:
            # a hundred devices with one password come back after a power cut: hash it once
            trial = asyncio.get_running_loop().run_in_executor(self._threads, secret.fits, password)
            self._trying[proof] = trial
            trial.add_done_callback(lambda _: self._trying.pop(proof, None))
        fits = await asyncio.shield(trial)
        if fits:
            self._right[name] = proof
        elif secret.n < NOBODY.n:
            await self.fit(name, NOBODY, password)  # a wrong one takes its time for everybody
        return fits

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _step_back() -> None:
    """Let this thread go last: a thousand passwords at once mustn't keep anybody's messages waiting."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
