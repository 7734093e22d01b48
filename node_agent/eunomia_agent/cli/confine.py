# SPDX-License-Identifier: Apache-2.0
"""Runs a command under a seccomp profile."""

import ctypes
import os
import shutil
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_ulong, c_ushort, c_void_p
from typing import NoReturn

from eunomia_agent.cli import profiles
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.learning.libseccomp import compile_profile

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_NOT_FOUND = 127


class _Program(ctypes.Structure):
    """struct sock_fprog of include/uapi/linux/filter.h."""

    _fields_ = (("length", c_ushort), ("filter", c_void_p))


def run(profile: str, command: Sequence[str]) -> NoReturn:
    """Become the command, under the profile. Raises AgentError."""
    if not command:
        raise CommandError("which command to run has to be said: -- COMMAND [ARGUMENT]...")
    code = compile_profile(profiles.read(profile))
    program = shutil.which(command[0])
    if program is None:
        raise CommandError(f"there is no command {command[0]}")
    become(code, program, command)


def become(code: bytes, program: str, command: Sequence[str]) -> NoReturn:
    """Put the filter on and exec at once: all that is ready before needs no call in between."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.execve.argtypes = [c_char_p, POINTER(c_char_p), POINTER(c_char_p)]
    libc.prctl.argtypes = [c_int, c_ulong, c_void_p, c_ulong, c_ulong]
    prctl, execve, get_errno = libc.prctl, libc.execve, ctypes.get_errno
    arguments = (c_char_p * (len(command) + 1))(*map(os.fsencode, command), None)
    variables = [os.fsencode(f"{name}={value}") for name, value in os.environ.items()]
    environment = (c_char_p * (len(variables) + 1))(*variables, None)
    path = os.fsencode(program)
    content = ctypes.create_string_buffer(code, len(code))
    chain = _Program(len(code) // 8, ctypes.addressof(content))
    where = ctypes.addressof(chain)
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, None, 0, 0) or prctl(
        _PR_SET_SECCOMP, _MODE_FILTER, where, 0, 0
    ):
        raise CommandError(f"the kernel takes no filter: {os.strerror(get_errno())}")
    execve(path, arguments, environment)
    error = get_errno()
    os.write(2, f"eunomia: {command[0]} cannot be run: {os.strerror(error)}\n".encode())
    os._exit(_NOT_FOUND)
