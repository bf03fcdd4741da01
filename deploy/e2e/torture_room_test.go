//go:build system

package e2e

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inRoom says that this process was started by enterRoom.
const inRoom = "TORTURE_ROOM"

// enterRoom runs the test again in a user and mount namespace of its own, where it
// may mount small disks that are gone with it, and reports whether it did so. Where
// the machine allows no such namespace, as a container may not, it says so and
// returns false: then a disk fails by a limit on the size of files.
func enterRoom(t *testing.T) bool {
	if os.Getenv(inRoom) != "" {
		return false
	}
	cmd := exec.Command(os.Args[0], append(os.Args[1:], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")...)
	cmd.Env = append(os.Environ(), inRoom+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Logf("no namespace to mount small disks in (%v): a disk is full here when files may not grow", err)
		return false
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the torture, in a namespace of its own: %v", err)
	}
	return true
}

// mountDisk makes a folder a file system of its own, of so many bytes. It reports
// false where that is not allowed.
func mountDisk(t testing.TB, folder string, bytes string) bool {
	if os.Getenv(inRoom) == "" {
		return false
	}
	if err := syscall.Mount("none", folder, "tmpfs", 0, "size="+bytes+",mode=0700"); err != nil {
		t.Logf("no small disk can be mounted (%v): a disk is full here when files may not grow", err)
		return false
	}
	t.Cleanup(func() { syscall.Unmount(folder, syscall.MNT_DETACH) }) // else it goes with the namespace
	return true
}
