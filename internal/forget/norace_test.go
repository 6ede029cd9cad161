//go:build !race

package forget_test

const raceEnabled = false
