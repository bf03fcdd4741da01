//go:build !linux

package main

import (
	"errors"
	"os"
)

// withoutEcho fails where the product does not know how to silence a terminal.
func withoutEcho(*os.File) (string, error) {
	return "", errors.New("a password cannot be typed unseen on this system: use --password-file")
}
