package check

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// service loads a compose file as Docker does, which refuses unknown fields, and returns its only service.
func service(t *testing.T, file string) types.ServiceConfig {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: filepath.Dir(file), ConfigFiles: []types.ConfigFile{{Filename: file, Content: content}},
	}, func(o *loader.Options) { o.SkipResolveEnvironment = true })
	if err != nil {
		t.Fatal(err)
	}
	return project.Services["provider"]
}

// checkHealth checks that a program probes itself, because the image contains only the programs, and that it does so at its own
// address.
func checkHealth(t *testing.T, program string, s types.ServiceConfig) {
	t.Helper()
	h := s.HealthCheck
	if h == nil || len(h.Test) != 4 || !slices.Equal(h.Test[:3], []string{"CMD", "/" + program, "health"}) {
		t.Fatalf("the health check is %+v", h)
	}
	host, port, err := net.SplitHostPort(h.Test[3])
	if err != nil || host != "127.0.0.1" || !slices.Contains(s.Command, "--health-listen=:"+port) {
		t.Errorf("the health check probes %s; the program gets %v", h.Test[3], s.Command)
	}
	if out, failed := run(t, program, nil, "health", "127.0.0.1:1"); !failed || !strings.Contains(out, "refused") {
		t.Errorf("without a listener the output is %s", out)
	}
	if h.Timeout == nil || time.Duration(*h.Timeout) <= healthPatience {
		t.Errorf("the program's time limit ends after %v", h.Timeout)
	}
}

// healthPatience is the programs' time limit for a response.
const healthPatience = 5 * time.Second

func TestCompose(t *testing.T) {
	const provider, omni = "virtrigaud-provider-truenas", "omni-infra-provider-truenas"
	for file, program := range map[string]string{"provider.yaml": provider, "omni.yaml": omni} {
		t.Run(file, func(t *testing.T) {
			s := service(t, "../compose/"+file)
			if !s.ReadOnly || s.User != "65532:65532" || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.MemLimit != 512<<20 {
				t.Errorf("the container has too many rights: %+v", s)
			}
			// The image's own entry point is the provider.
			if program == omni && !slices.Equal(s.Entrypoint, []string{"/" + omni}) || program == provider && len(s.Entrypoint) > 0 {
				t.Errorf("the entry point is %v", s.Entrypoint)
			}
			if out, failed := run(t, program, nil, append(slices.Clone(s.Command), "--version")...); failed {
				t.Errorf("the command is not understood: %s", out)
			}
			checkHealth(t, program, s)
			var env []string
			known := variables(t)
			for name, value := range s.Environment {
				if !known[name] {
					t.Errorf("the program has no command %s", name)
				}
				env = append(env, name+"="+*value)
			}
			// The example's address does not respond. A closed port of this host replaces it, so that the test does not wait.
			env = append(env, "TRUENAS_URL=https://127.0.0.1:1")
			settingsWork(t, file, program, env, nil)
			for _, v := range s.Volumes {
				if !v.ReadOnly || !regexp.MustCompile("^/etc/virtrigaud/(credentials|tls)$").MatchString(v.Target) {
					t.Errorf("the program reads no files in %s", v.Target)
				}
			}
		})
	}
}
