package omni

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"github.com/siderolabs/omni/client/pkg/omni/resources/siderolink"
	"go.yaml.in/yaml/v4"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/marked"
)

// TestNoSecretLeaks configures the adapter with a join token, an image factory's password and a NAS's key. It runs requests that
// succeed and requests that fail, and searches for the secrets in the log, in Omni and on the NAS.
func TestNoSecretLeaks(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			marks, log := marked.New(), &marked.Log{}
			key := "7-" + marks.Secret("API key")
			client, nas := secretNAS(t, release, key, log)
			w := newWorld(t, Backend{Name: "nas", Client: client})
			w.cfg.Logger, w.cfg.KubeletProviderID, w.cfg.StaticHostname = log.Logger(), true, true
			w.cfg.FactoryURL = strings.Replace(w.url, "http://", "http://user:"+marks.Secret("password of the factory")+"@", 1)
			w.joinToken(marks.Secret("join token"))
			_, stop := w.start()

			w.request("one", class)
			spec := w.provisioned("one")
			seed := seedOf(t, nas, vmOf(t, nas, spec.GetUuid()))["user-data"]
			token := regexp.MustCompile(`jointoken=([^\s"&]+)`).FindStringSubmatch(seed)
			if token == nil {
				t.Fatalf("the seed has no token: %s", seed)
			}
			marks.Add("token of the machine", token[1])
			if plain, err := url.QueryUnescape(token[1]); err == nil {
				marks.Add("token of the machine, as it is", plain)
			}

			for i, method := range []string{"vm.create", "vm.device.create", "filesystem.put", "vm.start", "pool.dataset.create"} {
				nas.Inject(sim.Fault{Method: method, Then: sim.Refuse, Err: &sim.CallError{Errno: 14, Reason: "[EFAULT] failed with " + key}})
				id := fmt.Sprintf("refused-%d", i)
				w.request(id, class)
				w.provisioned(id)
				w.release(id)
			}
			w.request("bad", class+"join_token: "+marks.Secret("token in a machine class")+"\n")
			w.failed("bad", "join_token")
			nas.SetOffline(true)
			w.request("away", class)
			w.failed("away", "reached")
			w.written(marks)
			nas.SetOffline(false)
			w.provisioned("away")
			w.written(marks)
			w.release("one")
			stop()

			if !bytes.Contains(log.Bytes(), []byte("[redacted]")) || !bytes.Contains(log.Bytes(), []byte("machine removed")) {
				t.Error("the log does not show the operations")
			}
			marks.Absent(w.t, "the log", log.Bytes())
			marks.Absent(w.t, "the NAS's state", fmt.Appendf(nil, "%+v", nas.State()))
		})
	}
}

// secretNAS returns a provider of a NAS with a key. The provider writes to the log.
func secretNAS(t *testing.T, release, key string, log *marked.Log) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	nas, address := truenastest.Serve(t, func(c *sim.Config) {
		c.Release, c.Keys = release, []sim.Key{{Username: sim.DefaultUser, APIKey: key, Roles: []string{"FULL_ADMIN"}}}
	})
	cfg := truenastest.Config(address)
	cfg.APIKey, cfg.PlainLogin, cfg.Logger, cfg.ConnectWait = key, false, log.Logger(), 2*time.Second
	api, err := truenas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(api, server.Config{
		ID: "nas", Dataset: "tank/virtrigaud", Instance: "replica-1", DefaultNetwork: "br0", Logger: log.Logger(),
		Disk: disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: log.Logger()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.Close(), api.Close() })
	return servertest.Dial(t, s.Register), nas
}

// joinToken sets the token with which machines join Omni.
func (w *world) joinToken(token string) {
	w.t.Helper()
	_, err := w.omni.UpdateWithConflicts(w.t.Context(), siderolink.NewProviderJoinConfig(providerID).Metadata(), func(r resource.Resource) error {
		r.(*siderolink.ProviderJoinConfig).TypedSpec().Value.JoinToken = token //nolint:forcetypeassert // Omni returns the requested type.
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// written adds all that the adapter writes into Omni to the searched texts.
func (w *world) written(marks *marked.Secrets) {
	w.t.Helper()
	kinds := []resource.Kind{
		infrares.NewMachineRequestStatus("").Metadata(), infrares.NewProviderHealthStatus("").Metadata(), infrares.NewProviderStatus("").Metadata(),
		infrares.NewConfigPatchRequest("").Metadata(), machine.New("").Metadata(),
	}
	for _, kind := range kinds {
		list, err := w.omni.List(w.t.Context(), kind)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(list.Items) == 0 {
			w.t.Errorf("there is no %s", kind.Type())
		}
		for _, item := range list.Items {
			form, err := resource.MarshalYAML(item)
			if err != nil {
				w.t.Fatal(err)
			}
			text, err := yaml.Marshal(form)
			if err != nil || !bytes.Contains(text, []byte("spec:")) {
				w.t.Fatalf("%s, %v", text, err)
			}
			marks.Absent(w.t, "Omni's "+kind.Type(), text)
		}
	}
}
