package main

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

// withoutEcho reads a line from a terminal that does not show what is typed.
func withoutEcho(f *os.File) (line string, err error) {
	var t syscall.Termios
	if err := terminal(f, syscall.TCGETS, &t); err != nil {
		return "", err
	}
	silent := t
	silent.Lflag &^= syscall.ECHO
	if err := terminal(f, syscall.TCSETS, &silent); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, terminal(f, syscall.TCSETS, &t)) }()
	return lineOf(f)
}

func terminal(f *os.File, request uintptr, t *syscall.Termios) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(t)))
	if errno != 0 {
		return errno
	}
	return nil
}

// lineOf reads byte by byte, so that nothing of the next line is swallowed.
func lineOf(f *os.File) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < 4096 {
		n, err := f.Read(one)
		if n == 1 && one[0] == '\n' {
			return string(line), nil
		}
		line = append(line, one[:n]...)
		if err != nil {
			return string(line), err
		}
	}
	return string(line), nil
}
