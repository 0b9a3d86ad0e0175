package image

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const apiKey = "1-simulatedsimulatedsimulatedsimulatedsimulatedsimulatedsimulated0"

// imageBytes is larger than the program's memory.
const imageBytes = 1 << 30

// testPod runs the provider as VirtRigaud's manager does: with its flags, environment, mounts and limits. It creates a VM with a
// seed from an image that is larger than the memory, and stops the provider.
func testPod(t *testing.T, image built) {
	url, fingerprint := simulator(t, apiKey)
	certificates := pair(t)
	group, peak := memoryGroup(t)
	port, health := freePort(t), freePort(t)
	provider := start(t, cell{
		Root: image.root, Group: group, Program: []string{"/virtrigaud-provider-truenas", "--port=" + port, "--health-port=" + health},
		Mounts: map[string]string{
			"/etc/virtrigaud/credentials": folder(t, map[string]string{"username": "root", "api_key": apiKey, "fingerprint": fingerprint}),
			"/etc/virtrigaud/tls":         folder(t, certificates),
		},
		Env: []string{"PROVIDER_TYPE=qemu", "PROVIDER_ENDPOINT=" + url, "PROVIDER_NAMESPACE=vms", "PROVIDER_NAME=nas", "TLS_ENABLED=true",
			"TLS_INSECURE_SKIP_VERIFY=false", "LOG_LEVEL=info", "LOG_FORMAT=json", "PROVIDER_DEFAULT_DATASTORE=tank", "PROVIDER_IMAGES_ALLOW_ADDRESSES=127.0.0.0/8"},
	})
	provider.says(t, `"msg":"serving"`)
	if got := provider.rights(t); got != nothing {
		t.Errorf("the program has the rights\n%s", got)
	}
	if err := os.WriteFile(filepath.Join("/proc", fmt.Sprint(provider.Process.Pid), "root/etc/written"), nil, 0o644); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("the root is writable: %v", err)
	}
	for _, page := range []string{"/healthz", "/readyz"} {
		resp, err := http.Get("http://127.0.0.1:" + health + page)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s answers %s", page, resp.Status)
		}
	}
	asked := start(t, cell{Root: image.root, Group: group, Program: []string{"/virtrigaud-provider-truenas", "health", "127.0.0.1:" + health}})
	if err := asked.Wait(); err != nil || asked.output.String() != "ok\n" {
		t.Errorf("the image's own health check: %v\n%s", err, asked.output.String())
	}
	makeVM(t, dial(t, port, certificates))
	t.Logf("peak of %d MiB", peak()>>20)
	began := time.Now()
	if err := provider.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := provider.Wait(); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("the program ended after %v with %v", time.Since(began), err)
	}
	if log := provider.output.String(); strings.Contains(log, apiKey) || !strings.Contains(log, `"msg":"stopped"`) {
		t.Errorf("the log contains the key, or shows no end:\n%s", log)
	}
}

// zeros is an endless image, of which the requested length is sent.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func makeVM(t *testing.T, provider providerv1.ProviderClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if valid, err := provider.Validate(ctx, &providerv1.ValidateRequest{}); err != nil || !valid.GetOk() || !strings.HasPrefix(valid.GetMessage(), "TrueNAS") {
		t.Fatalf("%v, %v", valid, err)
	}
	var sent atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(imageBytes))
		n, _ := io.Copy(w, io.LimitReader(zeros{}, imageBytes))
		sent.Add(n)
	}))
	defer web.Close()
	source := map[string]any{"source": map[string]any{"libvirt": map[string]any{"url": web.URL + "/large.raw", "format": "raw"}}}
	text, err := json.Marshal(source)
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := provider.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: string(text), TargetName: "large"})
	if err != nil {
		t.Fatal(err)
	}
	for done := prepared.GetTask().GetId() == ""; !done; time.Sleep(100 * time.Millisecond) {
		status, err := provider.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: prepared.GetTask()})
		if err != nil {
			t.Fatal(err)
		}
		done = status.GetDone()
	}
	vm, err := provider.Create(ctx, &providerv1.CreateRequest{
		Name: "web", ClassJson: `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":2}}`, ImageJson: fmt.Sprintf(`{"Path":%q}`, prepared.GetPreparedImagePath()),
		NetworksJson: `[{"Name":"eth0","Bridge":"br0"}]`, UserData: []byte("#cloud-config\n"),
	})
	if err != nil || vm.GetId() == "" || sent.Load() != imageBytes {
		t.Fatalf("%v, %v, for an image of which %d bytes were fetched", vm, err, sent.Load())
	}
}

// dial connects to the provider as the manager does, with the provider's own certificate.
func dial(t *testing.T, port string, files map[string]string) providerv1.ProviderClient {
	t.Helper()
	own, err := tls.X509KeyPair([]byte(files["tls.crt"]), []byte(files["tls.key"]))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(files["ca.crt"]))
	transport := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{own}})
	conn, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return providerv1.NewProviderClient(conn)
}

// pair returns the content of a TLS Secret whose certificate is its own authority.
func pair(t *testing.T) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "provider"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return map[string]string{"tls.crt": certificate, "ca.crt": certificate, "tls.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}
}
