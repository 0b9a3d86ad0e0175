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

// certificateFile is the name of the PEM file that keeps the NAS's certificate and key, so that its fingerprint stays the
// same from one run to the next; empty is none.
type certificateFile string

// serve serves nas with the certificate of the file, which is made when it is not there.
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
