//go:build race

package sessionauth_test

const raceEnabled = true
