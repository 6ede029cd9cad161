package main

import (
	"fmt"
	"os"
	"strings"
)

// argued reads the mutants that are known to survive, and why. The file has one in two
// lines: its name, as it is printed, and below it, indented, the reason.
// Lines that begin with # and empty ones are for the reader.
func argued(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	var name string
	for i, line := range strings.Split(string(text), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.HasPrefix(line, "#"):
		case trimmed == line:
			if _, twice := reasons[line]; twice {
				return nil, fmt.Errorf("%s:%d: there already: %s", file, i+1, line)
			}
			name = line
			reasons[name] = ""
		case name == "":
			return nil, fmt.Errorf("%s:%d: a reason for nothing", file, i+1)
		default:
			reasons[name] = strings.TrimSpace(reasons[name] + " " + trimmed)
		}
	}
	for name, reason := range reasons {
		if reason == "" {
			return nil, fmt.Errorf("%s: no reason for: %s", file, name)
		}
	}
	return reasons, nil
}
