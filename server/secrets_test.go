package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/listen"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/marked"
)

// secretsTest is a provider with marked secrets, and all its outputs.
type secretsTest struct {
	t      *testing.T
	marks  *marked.Secrets
	nas    *sim.Sim
	depot  *depot
	web    *secretSource
	client providerv1.ProviderClient
	key    string // of the NAS
	health string

	log        *marked.Log // as JSON and for users, at the debug level
	transcript *marked.Log
}

// hasNoSecret searches a text for the secrets.
func (w *secretsTest) hasNoSecret(who string, text []byte) {
	w.t.Helper()
	w.marks.Absent(w.t, who, text)
}

// TestNoSecretLeaks gives a provider marked secrets through every input, makes calls that succeed and that fail, and searches all
// outputs.
func TestNoSecretLeaks(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			w := newSecretsTest(t, release)
			w.callAll("undisturbed")
			w.malformedRequests()
			w.refusals()
			w.badSources()
			w.outages()
			w.look()
		})
	}
}

func newSecretsTest(t *testing.T, release string) *secretsTest {
	t.Helper()
	w := &secretsTest{t: t, marks: marked.New(), log: &marked.Log{}, transcript: &marked.Log{}, depot: newDepot(t)}
	w.key = "7-" + w.marks.Secret("API key") + w.marks.Secret("second half of the API key")
	nas, address := truenastest.Serve(t, func(c *sim.Config) {
		c.Release, c.Transcript = release, w.transcript
		c.Keys = []sim.Key{{Username: sim.DefaultUser, APIKey: w.key, Roles: []string{"FULL_ADMIN"}}}
	})
	w.nas, w.web = nas, newSecretSource(t, w.marks)
	addImage(t, nas)
	w.serve(w.provider(address, w.key))
	return w
}

// provider makes a provider with the debug log on, and with the hooks of metrics and traces.
func (w *secretsTest) provider(address *sim.Server, key string) *server.Server {
	w.t.Helper()
	cfg := truenastest.Config(address)
	cfg.APIKey, cfg.PlainLogin, cfg.Logger = key, false, w.log.Logger()
	cfg.Hooks.OnCall = func(i truenas.CallInfo) { w.note(i.Method, i.Err) }
	cfg.Hooks.OnState = func(s truenas.Status) { w.note(s.Endpoint+s.System, s.Err) }
	api, err := truenas.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	c := server.Config{ID: "test", Dataset: "tank/virtrigaud", Instance: "replica-1", Logger: w.log.Logger(), NASPaths: nasPaths}
	w.depot.reach(&c)
	c.Disk.Logger, c.Disk.PlainHTTPRegistries = c.Logger, []string{w.web.host()}
	c.Disk.Retry = disk.RetryPolicy{Attempts: 2, MinWait: time.Millisecond, MaxWait: time.Millisecond}
	c.Disk.S3 = disk.S3{Endpoint: w.depot.s3.URL, PathStyle: true, Region: "us-east-1", Credentials: disk.Credentials{
		AccessKeyID: w.marks.Secret("configured S3 access key"), SecretAccessKey: w.marks.Secret("configured S3 secret key"),
	}}
	s, err := server.New(api, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = errors.Join(s.Close(), api.Close()) })
	return s
}

func (w *secretsTest) note(what string, err error) {
	if err != nil {
		what += " " + err.Error()
	}
	_, _ = w.log.Write([]byte(what + "\n"))
}

// serve serves the provider as the program does: over mutual TLS, with health pages.
func (w *secretsTest) serve(s *server.Server) {
	w.t.Helper()
	dir, client := tlsFolder(w.t, w.marks)
	ctx, cancel := context.WithCancel(context.Background())
	bound, ended := make(chan string, 2), make(chan error, 1)
	go func() {
		ended <- listen.Serve(ctx, listen.Config{
			Listen: "127.0.0.1:0", HealthListen: "127.0.0.1:0", TLSDir: dir, Logger: w.log.Logger(), Service: server.Interceptor(),
			Listening: func(service, health net.Addr) { bound <- service.String(); bound <- health.String() },
		}, s.Register, s.Ready)
	}()
	address := <-bound
	w.health = "http://" + <-bound
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(client)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.client = providerv1.NewProviderClient(conn)
	w.t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
}

// answer searches the response of a call.
func (w *secretsTest) answer(when, method string, resp proto.Message, err error) {
	w.t.Helper()
	if err != nil {
		st := status.Convert(err)
		w.hasNoSecret(method+", "+when, []byte(st.Message()+" "+st.String()))
		return
	}
	text, err := protojson.Marshal(resp)
	if err != nil {
		w.t.Fatal(err)
	}
	w.hasNoSecret(method+", "+when, text)
}

// look searches all outputs of a provider except its responses.
func (w *secretsTest) look() {
	w.t.Helper()
	for _, page := range []string{"/healthz", "/readyz", "/metrics", "/status", "/", "/debug/pprof/cmdline"} {
		resp, err := http.Get(w.health + page) //nolint:noctx // a loopback address
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			w.t.Fatal(err)
		}
		w.hasNoSecret(page, text)
	}
	log := w.log.Bytes()
	for _, text := range []string{"ImportDisk", "filesystem.put", "[redacted]", "image could not be prepared", "login refused", "lost the connection"} {
		if !bytes.Contains(log, []byte(text)) {
			w.t.Errorf("the log lacks %q, so not every call was made", text)
		}
	}
	w.hasNoSecret("the log", log)
	if transcript := w.transcript.Bytes(); bytes.Contains(transcript, []byte("vm.create")) {
		w.hasNoSecret("the NAS's transcript", transcript)
	} else {
		w.t.Error("the NAS's transcript was not written")
	}
	state, err := json.Marshal(w.nas.State())
	if err != nil {
		w.t.Fatal(err)
	}
	w.hasNoSecret("the NAS's state", state)
	w.leftFiles(os.Getenv("TMPDIR"))
}

func (w *secretsTest) leftFiles(dir string) {
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), "TestNoSecret") {
			return fs.SkipDir // The test's folder, with the provider's input files.
		}
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		w.hasNoSecret("the temporary file "+name, content)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
}
