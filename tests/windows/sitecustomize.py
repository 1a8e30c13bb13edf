"""What CPython calls on Windows and Wine 8 has not got."""

import ctypes
import os
import sys

if hasattr(ctypes.WinDLL("ntdll"), "wine_get_version"):
    sys.modules["_wmi"] = None  # queries of the module platform: propsys.VariantToString

    def getppid():
        """Stand in for CPython's, which calls kernel32.PssCaptureSnapshot."""
        info = (ctypes.c_size_t * 6)()
        this = ctypes.c_void_p(-1)
        query = ctypes.WinDLL("ntdll").NtQueryInformationProcess
        query(this, 0, info, ctypes.sizeof(info), None)
        return info[5]

    os.getppid = getppid
