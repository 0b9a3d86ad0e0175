package check

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	virtrigaud "github.com/projectbeskar/virtrigaud/api/infra.virtrigaud.io/v1beta1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

// bin is the folder of the built programs.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "check")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		bin = dir
		return m.Run()
	}())
}

// programs builds the programs of the image once.
var programs = sync.OnceValue(func() error {
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", bin+"/", "./cmd/virtrigaud-provider-truenas", "./cmd/omni-infra-provider-truenas")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return errors.New(string(out))
	}
	return nil
})

// run starts one of the programs and waits for its end.
func run(t *testing.T, program string, env []string, args ...string) (output string, failed bool) {
	t.Helper()
	if err := programs(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Env = append([]string{"PATH=/nonexistent"}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

// variables returns the variables of the programs: those in --help, and those without a flag in the reference.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	reference, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, program := range []string{"virtrigaud-provider-truenas", "omni-infra-provider-truenas"} {
		help, _ := run(t, program, nil, "--help")
		for _, brackets := range regexp.MustCompile(`\[([A-Z0-9_, ]+)\]`).FindAllStringSubmatch(help, -1) {
			for name := range strings.SplitSeq(brackets[1], ", ") {
				known[name] = true
			}
		}
	}
	for _, name := range regexp.MustCompile("`([A-Z][A-Z0-9_]+)`").FindAllStringSubmatch(string(reference), -1) {
		known[name[1]] = true
	}
	if len(known) < 40 {
		t.Fatalf("found only %d variables: %v", len(known), known)
	}
	return known
}

func checkVariables(t *testing.T, where string, env []core.EnvVar) {
	t.Helper()
	known := variables(t)
	for _, e := range env {
		if !known[e.Name] {
			t.Errorf("%s: neither program reads %s", where, e.Name)
		}
	}
}

// checkPrograms checks the flags, variables and ports of objects that start a program.
func checkPrograms(t *testing.T, where string, objects []object) {
	t.Helper()
	for _, p := range all[virtrigaud.Provider](objects) {
		checkVariables(t, where, p.Spec.Runtime.Env)
		checkProvider(t, where, p, objects)
	}
	for _, d := range all[apps.Deployment](objects) {
		for _, c := range d.Spec.Template.Spec.Containers {
			checkVariables(t, where, c.Env)
			checkContainer(t, where, c, objects)
		}
	}
}

// given returns the environment of the program. Values from other objects are replaced by a placeholder.
func given(env []core.EnvVar) []string {
	var out []string
	for _, e := range env {
		value := e.Value
		if e.ValueFrom != nil {
			value = "from-elsewhere"
		}
		out = append(out, e.Name+"="+value)
	}
	return out
}

// credentials writes the Secret of the NAS as in a pod. If the chart makes none, it writes a placeholder.
func credentials(t *testing.T, objects []object) string {
	t.Helper()
	dir := t.TempDir()
	data := map[string]string{"username": "someone", "api_key": "1-something"}
	for _, s := range all[core.Secret](objects) {
		if s.StringData["api_key"] != "" {
			data = s.StringData
		}
	}
	for key, value := range data {
		if key == "ca.crt" || strings.HasSuffix(value, "...") {
			continue // a placeholder of an example
		}
		if err := os.WriteFile(filepath.Join(dir, key), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := data["api_key"]; !ok || strings.HasSuffix(data["api_key"], "...") {
		if err := os.WriteFile(filepath.Join(dir, "api_key"), []byte("1-something"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// settingsWork makes the program read its settings. Its address does not respond, which is not a mistake in the settings.
func settingsWork(t *testing.T, where, program string, env []string, objects []object) {
	t.Helper()
	out, _ := run(t, program, env, "config", "check", "--credentials-dir", credentials(t, objects))
	if !regexp.MustCompile(`(?m)^(ok|note) +settings `).MatchString(out) || regexp.MustCompile(`(?m)^FAIL +settings`).MatchString(out) {
		t.Errorf("%s: %s refuses its settings:\n%s", where, program, out)
	}
}

// checkProvider starts the provider with the flags and variables that VirtRigaud's manager would set for this resource.
func checkProvider(t *testing.T, where string, p *virtrigaud.Provider, objects []object) {
	t.Helper()
	if p.Spec.Type != virtrigaud.ProviderTypeQEMU || p.Spec.Runtime.Service.Port != 9443 || p.Spec.Runtime.Service.TLS == nil {
		t.Errorf("%s: type %s, service %+v", where, p.Spec.Type, p.Spec.Runtime.Service)
	}
	restricted(t, where, p.Spec.Runtime.SecurityContext, nil)
	if out, failed := run(t, "virtrigaud-provider-truenas", nil, "--port=9443", "--health-port=8080", "--version"); failed {
		t.Errorf("%s: %s", where, out)
	}
	env := append([]string{
		"PROVIDER_TYPE=qemu", "PROVIDER_ENDPOINT=" + p.Spec.Endpoint, "PROVIDER_NAMESPACE=vms", "PROVIDER_NAME=" + p.Name,
		"LOG_LEVEL=" + p.Spec.Runtime.LogLevel, "LOG_FORMAT=" + p.Spec.Runtime.LogFormat, "PROVIDER_DEFAULT_DATASTORE=" + p.Spec.Defaults.Datastore,
	}, given(p.Spec.Runtime.Env)...)
	settingsWork(t, where, "virtrigaud-provider-truenas", env, objects)
}

// checkContainer starts the program of a container with its arguments, and checks its ports, probes and mounts.
func checkContainer(t *testing.T, where string, c core.Container, objects []object) {
	t.Helper()
	if !slices.Equal(c.Command, []string{"/omni-infra-provider-truenas"}) {
		t.Fatalf("%s: the image lacks %v", where, c.Command)
	}
	if out, failed := run(t, "omni-infra-provider-truenas", nil, append(slices.Clone(c.Args), "--version")...); failed {
		t.Errorf("%s: the program refuses the arguments: %s", where, out)
	}
	if !slices.Contains(c.Args, "--health-listen=:8080") || len(c.Ports) != 1 || c.Ports[0].ContainerPort != 8080 {
		t.Errorf("%s: the probes go to %v, and the program listens as in %v", where, c.Ports, c.Args)
	}
	for path, probe := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != c.Ports[0].Name {
			t.Errorf("%s: a probe requests %+v", where, probe.HTTPGet)
		}
	}
	for _, m := range c.VolumeMounts {
		if !slices.Contains([]string{"/etc/virtrigaud/credentials", "/etc/virtrigaud/tls", "/tmp"}, m.MountPath) {
			t.Errorf("%s: the program reads no files in %s", where, m.MountPath)
		}
	}
	for _, d := range all[apps.Deployment](objects) {
		restricted(t, where, c.SecurityContext, d.Spec.Template.Spec.SecurityContext)
	}
	if !slices.ContainsFunc(c.Args, func(arg string) bool { return strings.HasPrefix(arg, "--provider=") }) {
		settingsWork(t, where, "omni-infra-provider-truenas", given(c.Env), objects)
	}
}

// restricted checks a container against the "restricted" pod security standard.
func restricted(t *testing.T, where string, c *core.SecurityContext, pod *core.PodSecurityContext) {
	t.Helper()
	if pod == nil {
		pod = &core.PodSecurityContext{RunAsNonRoot: c.RunAsNonRoot, RunAsUser: c.RunAsUser, SeccompProfile: c.SeccompProfile}
	}
	switch {
	case c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem, c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation,
		c.Capabilities == nil || !slices.Equal(c.Capabilities.Drop, []core.Capability{"ALL"}) || len(c.Capabilities.Add) > 0,
		pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot, pod.RunAsUser == nil || *pod.RunAsUser != 65532,
		pod.SeccompProfile == nil || pod.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault:
		t.Errorf("%s: the container has too many rights: %+v %+v", where, c, pod)
	}
}
