package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// The scripts run this test's own binary under the program's name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"virtrigaud-provider-truenas": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"rpc": rpc, "probe": probe, "awaits": awaits, "leftovers": leftovers, "nas": nas, "redfish": askRedfish,
		},
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"PORT", "HEALTH", "NOWHERE", "REDFISH"} {
				port, err := freePort()
				if err != nil {
					return err
				}
				env.Setenv(name, port)
			}
			return nil
		},
	})
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// rpc calls a method, as "rpc Power '{…}' CODE PATTERN". The code must match, and so must the response or the error text. It
// waits for a service that is starting.
func rpc(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: rpc METHOD REQUEST CODE PATTERN")
	}
	methods := providerv1.File_provider_v1_provider_proto.Services().ByName("Provider").Methods()
	method := methods.ByName(protoreflect.Name(args[0]))
	request, answer := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	ts.Check(protojson.Unmarshal([]byte(args[1]), request))
	conn, err := grpc.NewClient("127.0.0.1:"+ts.Getenv("PORT"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	ts.Check(err)
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = conn.Invoke(ctx, "/provider.v1.Provider/"+args[0], request, answer, grpc.WaitForReady(true))
	text := status.Convert(err).Message()
	if err == nil {
		text = oneLine(ts, answer)
	}
	ts.Logf("%s %s", status.Code(err), text)
	if status.Code(err).String() != args[2] || !matches(ts, args[3], text) {
		ts.Fatalf("want %s %s", args[2], args[3])
	}
}

// oneLine returns a response as JSON without spaces, some of which protojson adds at random.
func oneLine(ts *testscript.TestScript, answer proto.Message) string {
	pretty, err := protojson.Marshal(answer)
	ts.Check(err)
	var line bytes.Buffer
	ts.Check(json.Compact(&line, pretty))
	return line.String()
}

func matches(ts *testscript.TestScript, pattern, text string) bool {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	return re.MatchString(text)
}

// probe requests a page of the health checks, as "probe /readyz 503 PATTERN".
func probe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: probe PATH CODE PATTERN")
	}
	resp, err := http.Get("http://127.0.0.1:" + ts.Getenv("HEALTH") + args[0]) //nolint:noctx // a loopback address
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if got := fmt.Sprint(resp.StatusCode); got != args[1] || !matches(ts, args[2], string(text)) {
		ts.Fatalf("got %s %s", got, text)
	}
}

// askRedfish reads a resource of the Redfish service as root, as "redfish PASSWORD PATH CODE PATTERN".
func askRedfish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: redfish PASSWORD PATH CODE PATTERN")
	}
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+ts.Getenv("REDFISH")+args[1], nil) //nolint:noctx // a loopback address
	ts.Check(err)
	req.SetBasicAuth("root", args[0])
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if got := fmt.Sprint(resp.StatusCode); got != args[2] || !matches(ts, args[3], string(text)) {
		ts.Fatalf("got %s %s", got, text)
	}
}

// awaits waits until a background program has written a text to a file.
func awaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: awaits FILE TEXT")
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(content), args[1]) {
			return
		}
	}
	ts.Fatalf("%s never says %q", args[0], args[1])
}

// nas starts a simulated NAS with a user that has the given roles, as "nas VM_READ DATASET_READ", until the script ends, and sets
// the environment for it. NAS_FINGERPRINT has its fingerprint.
func nas(ts *testscript.TestScript, neg bool, roles []string) {
	if neg || len(roles) == 0 {
		ts.Fatalf("usage: nas ROLE...")
	}
	simulated, err := sim.New(sim.Config{Keys: []sim.Key{{Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Roles: roles}}})
	ts.Check(err)
	address, err := sim.Serve(simulated, "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() {
		address.Close()
		simulated.Close()
	})
	ts.Setenv("TRUENAS_URL", address.URL)
	ts.Setenv("TRUENAS_USERNAME", sim.DefaultUser)
	ts.Setenv("TRUENAS_API_KEY", sim.DefaultAPIKey)
	ts.Setenv("NAS_FINGERPRINT", address.Fingerprint)
}
