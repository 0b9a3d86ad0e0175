package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program in a cell.
type process struct {
	*exec.Cmd
	output output
}

// output supports concurrent reads and writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts a program of the image as a container's only process, on the host's network.
func start(t *testing.T, c cell) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command("/proc/self/exe")}
	p.Env = []string{"CELL=" + string(text)}
	p.Stdout, p.Stderr = &p.output, &p.output
	p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

// says waits until the output of the process matches a pattern.
func (p *process) says(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if match := re.FindStringSubmatch(p.output.String()); match != nil {
			return match
		}
	}
	t.Fatalf("the output never matches %s:\n%s", pattern, p.output.String())
	return nil
}

// rights returns the lines of /proc/<pid>/status with the rights of a process.
func (p *process) rights(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(status)) {
		if regexp.MustCompile(`^(Uid|Gid|Groups|Cap\w+|NoNewPrivs):`).MatchString(line) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(lines, "\n")
}

// nothing is the expected rights of a process of the pod.
const nothing = `Uid: 65532 65532 65532 65532
Gid: 65532 65532 65532 65532
Groups:
CapInh: 0000000000000000
CapPrm: 0000000000000000
CapEff: 0000000000000000
CapBnd: 0000000000000000
CapAmb: 0000000000000000
NoNewPrivs: 1`

// folder makes the folder of a Secret, with files that only the program's user can read.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o400); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, user, user); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// simulator starts the simulated NAS outside of all cells, and returns its address and fingerprint.
func simulator(t *testing.T, key string) (url, fingerprint string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "truenas-sim")
	shell(t, repository, nil, "go build -o "+program+" ./cmd/truenas-sim")
	nas := &process{Cmd: exec.Command(program, "--listen=127.0.0.1:0")}
	nas.Env = append(os.Environ(), "TRUENAS_SIM_API_KEY="+key)
	nas.Stdout, nas.Stderr = &nas.output, &nas.output
	if err := nas.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nas.Process.Kill()
		_ = nas.Wait()
	})
	return nas.says(t, `(?m)^url: (\S+)`)[1], nas.says(t, `(?m)^fingerprint: (\S+)`)[1]
}
