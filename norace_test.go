//go:build !race

package sessionauth_test

const raceEnabled = false
