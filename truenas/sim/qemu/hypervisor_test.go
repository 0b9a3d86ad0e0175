package qemu

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"virtrigaud-provider-truenas/truenas/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMissingQEMU(t *testing.T) {
	_, err := New(Options{Program: "qemu-that-does-not-exist"})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "apt-get install qemu-system-x86") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Options{Program: os.Args[0], Accelerator: "magic"}); err == nil || !strings.Contains(err.Error(), "magic") {
		t.Errorf("an unknown accelerator: %v", err)
	}
}

func TestKVMIsUsedOnlyWhereItWorks(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "kvm")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, device, flags, want string }{
		{"Intel", device, "fpu vmx sse", "kvm"},
		{"AMD", device, "fpu svm", "kvm"},
		{"an unsuitable processor", device, "fpu svm_lock", "tcg"},
		{"no device", filepath.Join(dir, "none"), "vmx", "tcg"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cpuinfo := filepath.Join(t.TempDir(), "cpuinfo")
			if err := os.WriteFile(cpuinfo, []byte("processor\t: 0\nflags\t\t: "+tt.flags+"\nbugs\t: vmx\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := accelerator(tt.device, cpuinfo); got != tt.want {
				t.Errorf("it is %s, want %s", got, tt.want)
			}
		})
	}
}

// script is a hypervisor whose QEMU is a shell script.
func script(t *testing.T, text string) *Hypervisor {
	t.Helper()
	h := bench(t)
	h.program = filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(h.program, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestProcessFailsAtStart(t *testing.T) {
	h := script(t, "echo 'no such device' >&2\n")
	m, off := machine(), make(chan struct{})
	m.Off = func() { close(off) }
	if _, err := h.Boot(m); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("got %v", err)
	}
	<-off
}

// monitor makes a script reply on the control socket, so that it counts as started.
const monitor = `echo '{"QMP":{}}{"return":{}}' >&3; `

func TestProcessEnds(t *testing.T) {
	h := script(t, monitor+"echo 'guest hello' >&4; read -r line <&4; echo \"guest heard $line\" >&4\n")
	h.logs = t.TempDir()
	m, off := machine(), make(chan struct{})
	m.Off = func() { close(off) }
	d, err := h.Boot(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Running(); len(got) != 1 || got[0] != d.PID() {
		t.Errorf("processes %v, want %d", got, d.PID())
	}
	console := h.Console(m.UUID)
	if _, err := console.Await(t.Context(), 0, "guest hello"); err != nil {
		t.Fatal(err)
	}
	if err := console.Say("good-bye"); err != nil {
		t.Fatal(err)
	}
	<-off
	if got := console.Output(); got != "guest hello\nguest heard good-bye\n" {
		t.Errorf("the console has %q", got)
	}
	if kept, err := os.ReadFile(filepath.Join(h.logs, "web.log")); err != nil || string(kept) != console.Output() {
		t.Errorf("the file has %q %v", kept, err)
	}
	if err := console.Say("hello?"); !errors.Is(err, errPowerIsOff) {
		t.Errorf("after its end: %v", err)
	}
	if got := h.Running(); len(got) != 0 {
		t.Errorf("processes %v are still running", got)
	}
}

func TestCut(t *testing.T) {
	h := script(t, monitor+"exec sleep 600\n")
	m := machine()
	m.Off = func() { t.Error("Off was called after Cut") }
	d, err := h.Boot(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Interfaces(t.Context()); !errors.Is(err, errNoAgent) {
		t.Errorf("the agent: %v", err)
	}
	d.Cut()
	d.Cut()
	for begin := time.Now(); len(h.Running()) > 0; time.Sleep(time.Millisecond) { // The end of the process is not signaled after Cut.
		if time.Since(begin) > 10*time.Second {
			t.Fatal("it still runs")
		}
	}
	h.Close()
	if _, err := h.Boot(m); !errors.Is(err, errClosed) {
		t.Errorf("after the end: %v", err)
	}
}

var _ sim.Domain = (*domain)(nil)
