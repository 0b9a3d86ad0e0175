//go:build recipes

package main

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/truenas/sim"
)

const recipes = "../../deploy/docs/grpcurl.md"

// Runs every command of the page in order, in one shell. At the end the NAS has no VMs. It needs bash, jq and grpcurl.
func TestRecipes(t *testing.T) {
	page, err := os.ReadFile(recipes)
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		script.WriteString(block[1])
	}
	nas, err := startSimulator(simulatorFlags{release: "25.10"})
	if err != nil {
		t.Fatal(err)
	}
	defer nas.close()
	image, err := offerImage(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer image.close()
	objects := s3mem.New()
	if err := objects.CreateBucket("stage"); err != nil {
		t.Fatal(err)
	}
	store := httptest.NewServer(gofakes3.New(objects, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	defer store.Close()

	shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c",
		strings.ReplaceAll(script.String(), "127.0.0.1:9443", serveRecipes(t, nas)))
	shell.Env = append(os.Environ(), "IMAGE_URL="+image.url, "S3="+store.URL, "S3_ACCESS_KEY_ID=key", "S3_SECRET_ACCESS_KEY=secret")
	out, err := shell.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"provider.v1.Provider", `"ok": true`, `"powerState": "On"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the recipes print no %s", want)
		}
	}
	state := nas.State()
	if len(state.VMs) != 0 || slices.ContainsFunc(state.Datasets, func(d sim.DatasetState) bool { return strings.Contains(d.Name, "/vms/") }) {
		t.Errorf("%d VMs remain", len(state.VMs))
	}
	if len(script.String()) < 1000 {
		t.Error("the page has too few commands")
	}
}

// serveRecipes serves the provider on loopback and returns its address.
func serveRecipes(t *testing.T, nas *simulator) string {
	t.Helper()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse([]string{"--listen", "127.0.0.1:0", "--tls-dir", t.TempDir(), "--credentials-dir", t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	listening, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- runProvider(ctx, flags, nas.environment(os.LookupEnv), func(service, _ net.Addr, _ bool) { listening <- service.String() })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case address := <-listening:
		if _, _, err := net.SplitHostPort(address); err != nil {
			t.Fatal(err)
		}
		return address
	case <-time.After(10 * time.Second):
		t.Fatal("the provider does not listen")
		return ""
	}
}
