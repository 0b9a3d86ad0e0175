package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"virtrigaud-provider-truenas/truenas/sim"
)

// certificateFile is the path of the PEM file with the NAS's certificate and key, which keeps the fingerprint stable between
// runs. Empty: no file.
type certificateFile string

// serve serves nas with the certificate of the file. It makes the file if it does not exist.
func (c certificateFile) serve(nas *sim.Sim, listen string) (*sim.Server, error) {
	if c == "" {
		return sim.Serve(nas, listen)
	}
	cert, err := tls.LoadX509KeyPair(string(c), string(c))
	if errors.Is(err, fs.ErrNotExist) {
		cert, err = c.make()
	}
	if err != nil {
		return nil, fmt.Errorf("--certificate: %w", err)
	}
	return sim.ServeAs(nas, listen, cert)
}

func (c certificateFile) make() (tls.Certificate, error) {
	cert, err := sim.SelfSigned()
	if err != nil {
		return cert, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return cert, err
	}
	var b bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, {Type: "PRIVATE KEY", Bytes: key}} {
		if err := pem.Encode(&b, block); err != nil {
			return cert, err
		}
	}
	return cert, os.WriteFile(string(c), b.Bytes(), 0o600)
}
