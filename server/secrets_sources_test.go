package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/truenastest/marked"
)

// secretSource is a source of images with a password and a signature, whose failures repeat both.
type secretSource struct {
	*httptest.Server
	marks *marked.Secrets
}

func newSecretSource(t testing.TB, marks *marked.Secrets) *secretSource {
	s := &secretSource{marks: marks}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *secretSource) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *secretSource) url(file string) string {
	return fmt.Sprintf("http://user:%s@%s/%s?X-Amz-Signature=%s&sig=%s", s.marks.Secret("password in an image's address"), s.host(), file,
		s.marks.Secret("signature in an image's address"), s.marks.Secret("signature in an image's address"))
}

// ServeHTTP responds according to the file's name.
func (s *secretSource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	echo := r.URL.String() + " " + r.Header.Get("Authorization")
	w.Header().Set("X-Echo", echo)
	status := map[string]int{"denied": 403, "unauthorized": 401, "away": 503, "gone": 404, "odd": 418}[path.Base(r.URL.Path)]
	switch file := path.Base(r.URL.Path); {
	case file == "disk.raw":
		http.ServeContent(w, r, file, time.Unix(1, 0), bytes.NewReader(make([]byte, 1<<20)))
	case file == "redirect":
		http.Redirect(w, r, strings.Replace(s.url("denied"), "http://", "ftp://", 1), http.StatusFound)
	case file == "elsewhere":
		http.Redirect(w, r, strings.Replace(s.url("disk.raw"), s.host(), "169.254.169.254", 1), http.StatusFound)
	case file == "page":
		_, _ = w.Write([]byte("<html>" + echo + "</html>"))
	case file == "cut":
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write([]byte(echo))
	case status != 0:
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm=%q,service=%q`, s.url("token"), echo))
		http.Error(w, echo, status)
	default: // the response of a registry that denies access
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":%q,"detail":%q}]}`, echo, echo)
	}
}

// badSources makes images and staging places fail, with the request in the text of the error.
func (w *secretsTest) badSources() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	oci := strings.Replace(w.web.url("library/disk:v1"), "http://", "oci://", 1)
	jobs := []string{
		fmt.Sprintf(`{"source":{"libvirt":{"url":%q}}}`, oci),
		fmt.Sprintf(`{"source":{"libvirt":{"url":%q}}}`, "oci://"+w.web.host()+"/library/disk:v1"),
		fmt.Sprintf(`{"source":{"libvirt":{"url":%q}}}`, strings.Replace(w.web.url("disk.raw"), "http://", "s3://", 1)),
		fmt.Sprintf(`{"source":{"libvirt":{"url":%q}}}`, "http://user:"+w.marks.Secret("password in an image's address")+"@:bad/disk"),
		fmt.Sprintf(`{"source":{"libvirt":{"path":%q}}}`, "nope://user:"+w.marks.Secret("password in an image's address")+"@host/disk"),
		fmt.Sprintf(`{"source":{"http":{"url":"https://example.com/disk","headers":{"Authorization":%q}}}}`, w.marks.Secret("header of an image's request")),
		fmt.Sprintf(`{"source":{"http":{"url":"https://example.com/disk","authentication":{"basicAuth":{"password":%q}}}}}`, w.marks.Secret("header of an image's request")),
		fmt.Sprintf(`{"source":{"libvirt":{"url":%q,"checksum":"%064d","checksumType":"sha256"}},"prepare":{"retries":0}}`, w.web.url("disk.raw"), 7),
	}
	for _, file := range []string{"denied", "unauthorized", "away", "gone", "odd", "redirect", "elsewhere", "page", "cut"} {
		jobs = append(jobs, w.job(file))
	}
	for i, job := range jobs {
		for range 2 { // The second caller gets the error of the first.
			resp, err := w.client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{TargetName: fmt.Sprintf("img-%d", i), ImageJson: job})
			w.answer("from a bad source", "ImagePrepare", resp, err)
			w.follow(ctx, "from a bad source", resp.GetTask())
		}
		req := w.vmWithSecrets("web-4")
		req.ImageJson = fmt.Sprintf(`{"URL":%q}`, w.web.url("denied"))
		made, err := w.client.Create(ctx, req)
		w.answer("from a bad source", "Create", made, err)
	}
	w.badStaging(ctx)
}

// badStaging uses an S3 service that denies access with the key in its message, as AWS does, and one that is unreachable.
func (w *secretsTest) badStaging(ctx context.Context) {
	w.t.Helper()
	created, err := w.client.Create(ctx, w.vmWithSecrets("web-1"))
	w.answer("once more", "Create", created, err)
	for _, code := range []int{403, 400, 503} {
		w.depot.before = func(out http.ResponseWriter, r *http.Request) bool {
			echo := r.Header.Get("Authorization") + r.Header.Get("X-Amz-Security-Token") + w.marks.Secret("S3 secret key")
			out.Header().Set("Content-Type", "application/xml")
			out.WriteHeader(code)
			_, _ = fmt.Fprintf(out, `<Error><Code>InvalidAccessKeyId</Code><Message>%s</Message><AWSAccessKeyId>%s</AWSAccessKeyId><StringToSign>%s</StringToSign></Error>`,
				echo, w.marks.Secret("S3 access key"), echo)
			return true
		}
		exported, err := w.client.ExportDisk(ctx, w.export(idOfWeb1))
		w.answer("denied by S3", "ExportDisk", exported, err)
		imported, err := w.client.ImportDisk(ctx, w.importing())
		w.answer("denied by S3", "ImportDisk", imported, err)
	}
	w.depot.before = nil
	for _, url := range []string{w.web.url("denied"), "nfs://user:" + w.marks.Secret("password of the staging place") + "@filer/export/x"} {
		req := w.importing()
		req.SourceUrl, req.BackendType, req.StorageOptionsJson = url, "", ""
		imported, err := w.client.ImportDisk(ctx, req)
		w.answer("from a bad source", "ImportDisk", imported, err)
	}
}

// tlsFolder returns a server's folder of TLS files, and a matching client; every line of the private key is a secret.
func tlsFolder(t testing.TB, marks *marked.Secrets) (dir string, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
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
	dir = t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	marks.Add("private key of the certificate", string(scalar))
	marks.Add("private key's file", strings.Split(string(keyPEM), "\n")[2])
	for name, content := range map[string][]byte{"tls.crt": cert, "ca.crt": cert, "tls.key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(cert, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return dir, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
}
