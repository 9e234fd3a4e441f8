package main

import (
	"syscall"
	"unsafe"
)

// prctl acts on the calling thread only, the one that main locked.
func prctl(option, arg uintptr) error {
	if _, _, no := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg, 0, 0, 0, 0); no != 0 {
		return no
	}
	return nil
}

// setName gives the process a name that people recognise while it is held;
// executed through /proc/self/fd/N it would be called N.
func setName(name *byte) {
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PRCTL, prSetName, uintptr(unsafe.Pointer(name)), 0, 0, 0, 0)
}
