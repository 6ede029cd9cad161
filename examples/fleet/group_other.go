//go:build !unix

package main

import "syscall"

// ownGroup is for systems that have process groups.
func ownGroup() *syscall.SysProcAttr { return nil }
