package check

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	virtrigaud "github.com/projectbeskar/virtrigaud/api/infra.virtrigaud.io/v1beta1"
	core "k8s.io/api/core/v1"
)

// host is the name under which VirtRigaud's manager calls the provider "nas" in the namespace "vms".
const host = "virtrigaud-provider-vms-nas.vms.svc.cluster.local"

// TestGeneratedCertificate checks that the certificate is valid for servers, under the name of the Service, and for clients,
// because the manager and the provider present the same one.
func TestGeneratedCertificate(t *testing.T) {
	objects := rendered(t, providerChart, examplesOf(t, providerChart)["least.yaml"])
	var secret *core.Secret
	for _, s := range all[core.Secret](objects) {
		if s.Name == all[virtrigaud.Provider](objects)[0].Spec.Runtime.Service.TLS.SecretRef.Name {
			secret = s
		}
	}
	if secret == nil || secret.Type != core.SecretTypeTLS {
		t.Fatalf("the Provider's Secret is %+v", secret)
	}
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		t.Fatal("ca.crt has no certificate")
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: time.Now().AddDate(9, 0, 0)}); err != nil {
			t.Errorf("for %v: %v", usage, err)
		}
	}
}

func TestCertificateOfCertManager(t *testing.T) {
	objects := rendered(t, providerChart, examplesOf(t, providerChart)["everything.yaml"])
	provider, certificate := all[virtrigaud.Provider](objects)[0], all[certmanager.Certificate](objects)[0]
	if certificate.Spec.SecretName != provider.Spec.Runtime.Service.TLS.SecretRef.Name || certificate.Spec.DNSNames[0] != "virtrigaud-provider-vms-east.vms.svc.cluster.local" {
		t.Errorf("the certificate is %+v", certificate.Spec)
	}
}
