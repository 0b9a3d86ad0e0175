package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
)

const (
	apiAddress     = "127.0.0.1:6443"
	metricsAddress = "127.0.0.1:8090"
	token          = "e2e"
)

// cluster is a Kubernetes without nodes: etcd and an API server.
type cluster struct {
	config *rest.Config
	dir    string
}

// startCluster starts etcd and an API server that accepts one token.
func startCluster(ctx context.Context, w *world) (*cluster, error) {
	c := &cluster{dir: w.dir("cluster"), config: &rest.Config{
		Host: "https://" + apiAddress, BearerToken: token, QPS: 200, Burst: 400,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // the server makes its certificate at its start, and only this namespace reaches it
	}}
	if err := w.launch("etcd", exec.Command(w.s.etcd, "--data-dir", filepath.Join(c.dir, "etcd"), "--log-outputs=stderr", "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380")); err != nil {
		return nil, err
	}
	if err := c.credentials(); err != nil {
		return nil, err
	}
	if err := w.launch("kube-apiserver", exec.Command(w.s.apiserver,
		"--etcd-servers=http://127.0.0.1:2379", "--bind-address=127.0.0.1", "--secure-port=6443", "--advertise-address="+network+"1",
		"--cert-dir="+filepath.Join(c.dir, "tls"), "--token-auth-file="+filepath.Join(c.dir, "tokens"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+filepath.Join(c.dir, "sa.key"),
		"--service-account-signing-key-file="+filepath.Join(c.dir, "sa.key"), "--disable-admission-plugins=ServiceAccount",
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/16", "--enable-priority-and-fairness=false")); err != nil {
		return nil, err
	}
	return c, c.ready(ctx)
}

// credentials writes the token of a member of system:masters, and the signing key that API servers require.
func (c *cluster) credentials() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(filepath.Join(c.dir, "sa.key"), pemKey, 0o600); err != nil {
		return err
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
clusters: [{name: e2e, cluster: {server: "https://%s", insecure-skip-tls-verify: true}}]
users: [{name: e2e, user: {token: %s}}]
`, apiAddress, token)
	if err := os.WriteFile(c.kubeconfig(), []byte(kubeconfig), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "tokens"), []byte(token+",e2e,e2e,system:masters\n"), 0o600)
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// ready waits for the API server.
func (c *cluster) ready(ctx context.Context) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // as in startCluster
	return poll(ctx, 2*time.Minute, "the API server", func() (bool, string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+apiAddress+"/readyz", nil)
		if err != nil {
			return false, err.Error()
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(req)
		if err != nil {
			return false, err.Error()
		}
		_ = res.Body.Close() // unread
		return res.StatusCode == http.StatusOK, res.Status
	})
}

// startManager starts VirtRigaud's manager as its chart does, except for features that need a cluster's network.
func startManager(w *world) error {
	cmd := exec.Command(w.s.manager, "--metrics-bind-address="+metricsAddress, "--health-probe-bind-address=127.0.0.1:8091", "--enforce-provider-capabilities")
	cmd.Env = []string{"KUBECONFIG=" + w.cluster.kubeconfig(), "GRPC_ENABLE_TXT_SERVICE_CONFIG=false", "HOME=" + w.cluster.dir, "PATH=" + os.Getenv("PATH")}
	return w.launch("manager", cmd)
}

// poll checks a condition every 200 ms until it is true, and returns the last state after a timeout.
func poll(ctx context.Context, limit time.Duration, what string, ask func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, last := ask()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s; last: %s", what, limit, last)
		case <-tick.C:
		}
	}
}
