package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/marked"
)

// process is the program in a process of its own, with its output and the data that other users can see.
type process struct {
	cmd     *exec.Cmd
	printed bytes.Buffer
}

// started starts the program with exactly these arguments and variables.
func started(t *testing.T, args []string, env ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe)}
	p.cmd.Args = append([]string{"virtrigaud-provider-truenas"}, args...)
	p.cmd.Env = append([]string{"PROVIDER_CREDENTIALS_DIR=" + t.TempDir(), "PROVIDER_TLS_DIR=/nowhere", "TMPDIR=" + t.TempDir()}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.printed, &p.printed
	return p
}

// leaks searches output for the secrets.
func leaks(t *testing.T, marks *marked.Secrets, who string, text []byte) {
	t.Helper()
	for line := range strings.Lines(string(text)) {
		for _, name := range marks.In([]byte(line)) {
			t.Errorf("%s contains the %s: %.1500s", who, name, line)
		}
	}
}

// wrongConfigurations returns configurations with secrets in and near the mistakes.
func wrongConfigurations(marks *marked.Secrets, dir string) []struct {
	name, file string
	args, env  []string
} {
	key, password := "7-"+marks.Secret("API key"), marks.Secret("password")
	ok := "truenas: {url: https://nas.example, username: u, api_key: " + key + "}\nstorage: {dataset: tank/v}\n"
	return []struct {
		name, file string
		args, env  []string
	}{
		{name: "no colon behind api_key", file: "truenas:\n  api_key " + key + "\n"},
		{name: "no value for the key", file: "truenas: {api_key " + key + "}\n"},
		{name: "the key instead of a section", file: "truenas: " + key + "\n"},
		{name: "the key as a section", file: "truenas:\n  api_key: {" + key + ": x}\n"},
		{name: "the key as a name", file: key + ": api_key\n"},
		{name: "the key as an alias", file: "truenas:\n  api_key: *" + key + "\n"},
		{name: "the key as a tag", file: "truenas:\n  api_key: !" + key + " [\n"},
		{name: "a quote that does not end", file: "truenas:\n  api_key: \"" + key + "\\q\n"},
		{name: "a tab", file: "truenas:\n\tapi_key: " + key + "\n"},
		{name: "the key in two words", file: ok + "---\n" + ok, env: []string{"TRUENAS_API_KEY=" + key + " " + key}},
		{name: "the key and a file of it", file: strings.Replace(ok, "api_key:", "api_key_file: "+dir+"/key, api_key:", 1)},
		{name: "a misspelt setting", file: strings.Replace(ok, "api_key:", "api_kye:", 1)},
		{name: "a password in the address", file: ok, env: []string{"TRUENAS_URL=https://root:" + password + "@nas.example"}},
		{name: "a password in an address that cannot be read", file: ok, env: []string{"TRUENAS_URL=https://root:" + password + "@nas.example:port"}},
		{name: "a key in an address with a path", file: ok, env: []string{"TRUENAS_URL=https://nas.example/api?key=" + password}},
		{name: "a key in an address with a fragment", file: ok, env: []string{"TRUENAS_URL=wss://nas.example/api#key=" + password}},
		{name: "plain text, and a password", file: ok, env: []string{"TRUENAS_URL=http://root:" + password + "@nas.example/"}},
		{name: "an S3 endpoint with a password", file: ok, env: []string{
			"PROVIDER_IMAGES_S3_ENDPOINT=https://user:" + password + "@s3.example:port", "PROVIDER_LISTEN=nowhere"}},
		{name: "half of the S3 credentials", file: ok, env: []string{"PROVIDER_IMAGES_S3_SECRET_ACCESS_KEY=" + marks.Secret("S3 secret key"), "PROVIDER_LISTEN=nowhere"}},
		{name: "traces to an address that cannot be read", file: ok, env: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://user:" + password + "@:port", "OTEL_EXPORTER_OTLP_HEADERS=authorization=" + password + ",=" + password, "PROVIDER_LISTEN=nowhere"}},
		{name: "a proxy that is none", file: ok, env: []string{"HTTPS_PROXY=http://user:" + password + "@:port", "PROVIDER_LISTEN=nowhere"}},
		{name: "a password in an address without a scheme", file: ok, env: []string{"TRUENAS_URL=root:" + password + "@nas.example"}},
		{name: "an unknown flag with the key", file: ok, args: []string{"--truenas-api-key=" + key}},
		{name: "an unknown flag and the key", file: ok, args: []string{"--api-key", key}},
		{name: "a TLS key that is none", file: ok, args: []string{"--tls-dir", dir}},
	}
}

func TestWrongConfigurationsLeakNoSecret(t *testing.T) {
	marks := marked.New()
	dir := t.TempDir()
	for name, content := range map[string]string{"key": "7-" + marks.Secret("API key"), "tls.key": marks.Secret("TLS key"), "tls.crt": marks.Secret("TLS key"), "ca.crt": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range wrongConfigurations(marks, dir) {
		for _, command := range [][]string{nil, {"config", "check"}} {
			t.Run(strings.Join(append(command, tt.name), " "), func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(t.TempDir(), "provider.yaml")
				if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
				p := started(t, append(append(append([]string{}, command...), "--config", file), tt.args...), tt.env...)
				err := p.cmd.Run()
				var failed *exec.ExitError
				if !errors.As(err, &failed) || failed.ExitCode() == 0 || p.printed.Len() == 0 {
					t.Errorf("it ended with %v and printed %q", err, p.printed.String())
				}
				leaks(t, marks, "the program", p.printed.Bytes())
			})
		}
	}
}

// TestARunningProgramLeaksNoSecret starts the program with secrets from a file, a folder and the environment, runs operations
// that succeed and fail, and searches its output, its pages, its traces and its entries in /proc.
func TestARunningProgramLeaksNoSecret(t *testing.T) {
	marks := marked.New()
	key := "7-" + marks.Secret("API key")
	_, address := truenastest.Serve(t, func(c *sim.Config) {
		c.Keys = []sim.Key{{Username: "root", APIKey: key, Roles: []string{"FULL_ADMIN"}}}
	})
	credentials := t.TempDir()
	for name, content := range map[string]string{
		"api_key": key, "username": "root", "fingerprint": address.Fingerprint,
		"accessKeyID": marks.Secret("S3 access key"), "secretAccessKey": marks.Secret("S3 secret key"), "password": marks.Secret("stranger"),
	} {
		if err := os.WriteFile(filepath.Join(credentials, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	traces := newCollector(t)
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	health, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"json", "console"} {
		p := started(t, []string{"--credentials-dir", credentials, "--truenas-url", address.URL, "--dataset", "tank/virtrigaud", "--listen", "127.0.0.1:" + port,
			"--health-listen", "127.0.0.1:" + health, "--log-level", "debug", "--log-format", format},
			"OTEL_EXPORTER_OTLP_ENDPOINT="+traces.URL, "OTEL_BSP_SCHEDULE_DELAY=50", "PROVIDER_IMAGES_ALLOW_ADDRESSES=127.0.0.0/8")
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		work(t, marks, port, traces.URL)
		for _, page := range []string{"/metrics", "/healthz", "/readyz", "/", "/status"} {
			leaks(t, marks, page, fetch(t, "http://127.0.0.1:"+health+page))
		}
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
		if err != nil || !bytes.Contains(cmdline, []byte("--credentials-dir")) {
			t.Fatalf("%q, %v", cmdline, err)
		}
		leaks(t, marks, "the process list", cmdline)
		if err := errors.Join(p.cmd.Process.Signal(syscall.SIGTERM), p.cmd.Wait()); err != nil {
			t.Errorf("%v: %s", err, p.printed.String())
		}
		if !strings.Contains(p.printed.String(), "image could not be prepared") || !strings.Contains(p.printed.String(), "ImportDisk") {
			t.Errorf("the log does not show the operations:\n%s", p.printed.String())
		}
		leaks(t, marks, "the program", p.printed.Bytes())
	}
	if len(traces.got()) == 0 {
		t.Error("no traces arrived")
	}
	leaks(t, marks, "a trace", traces.got())
}

// work creates a VM with secrets, and makes an image and an import fail.
func work(t *testing.T, marks *marked.Secrets, port, elsewhere string) {
	t.Helper()
	conn, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := providerv1.NewProviderClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	created, err := client.Create(ctx, &providerv1.CreateRequest{
		Name: "web-1", ClassJson: `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":1}}`, UserData: []byte("password: " + marks.Secret("user data")),
	})
	if err != nil {
		t.Fatal(err)
	}
	responses := fmt.Sprint(created)
	image, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{TargetName: "img", ImageJson: fmt.Sprintf(
		`{"source":{"libvirt":{"url":"%s/image?sig=%s"}},"prepare":{"retries":0}}`, strings.Replace(elsewhere, "://", "://user:"+marks.Secret("image password")+"@", 1), marks.Secret("image signature"))})
	responses += fmt.Sprint(image, err)
	for done := false; !done && err == nil && image.GetTask() != nil; time.Sleep(5 * time.Millisecond) {
		var resp *providerv1.TaskStatusResponse
		resp, err = client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: image.GetTask()})
		responses, done = responses+fmt.Sprint(resp, err), resp.GetDone()
	}
	_, err = client.ImportDisk(ctx, &providerv1.ImportDiskRequest{SourceUrl: "s3://bucket/key", Format: "raw", TargetName: "moved", BackendType: "s3",
		StorageOptionsJson: fmt.Sprintf(`{"endpoint":%q}`, elsewhere), Credentials: map[string]string{"accessKeyID": marks.Secret("S3 access key"), "secretAccessKey": marks.Secret("S3 secret key")}})
	vm, failed := client.Describe(ctx, &providerv1.DescribeRequest{Id: created.GetId()})
	leaks(t, marks, "an answer", []byte(responses+fmt.Sprint(err, vm, failed)))
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // a loopback address
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// collector receives traces, and refuses all other requests with an echo of the request.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	sent []byte
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/traces" {
		http.Error(w, r.URL.String()+r.Header.Get("Authorization"), http.StatusForbidden)
		return
	}
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, body...)
}

func (c *collector) got() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.sent)
}
