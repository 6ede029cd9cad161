//go:build unix

package main

import "syscall"

// ownGroup keeps a process from what a terminal sends to a whole group, such as Ctrl-C.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
