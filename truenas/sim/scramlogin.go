package sim

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
)

// loginByScram handles both halves of a SCRAM login. Every mistake is AUTH_ERR and restarts the login.
func loginByScram(c *call, raw json.RawMessage) (any, error) {
	var p struct {
		Mechanism string `json:"mechanism" sim:"required"`
		Type      string `json:"scram_type" sim:"required,enum=CLIENT_FIRST_MESSAGE|CLIENT_FINAL_MESSAGE"`
		Message   string `json:"rfc_str" sim:"required"`
	}
	if bad := c.decode("login_data."+byScram, raw, &p); bad != nil {
		return nil, bad
	}
	x := c.session.scram
	c.session.scram = nil
	if p.Type == "CLIENT_FIRST_MESSAGE" {
		return c.scramFirst(p.Message)
	}
	if x == nil {
		return response{"response_type": loginError}, nil
	}
	answer, ok := x.final(p.Message)
	if !ok {
		return response{"response_type": loginError}, nil
	}
	if x.user.revoked || x.user.key.Expired {
		return response{"response_type": loginExpired}, nil
	}
	c.session.user = x.user
	return scramResponse("SERVER_FINAL_RESPONSE", answer, x.user.info()), nil
}

func scramResponse(kind, message string, user any) response {
	return response{"response_type": loginScram, "scram_type": kind, "rfc_str": message, "user_info": user}
}

// scramFirst replies to a client's first message.
func (c *call) scramFirst(message string) (any, error) {
	first, ok := parseScramFirst(message)
	if !ok {
		return response{"response_type": loginError}, nil
	}
	a := c.sim.accountNamed(first.username, first.keyID)
	if a == nil {
		return response{"response_type": loginError}, nil
	}
	if a.scram == nil {
		keys, err := newScramKeys(a.secret, c.sim.randomBytes(16), c.sim.cfg.ScramIterations)
		if err != nil {
			return nil, err
		}
		a.scram = keys
	}
	x := newScramExchange(a.scram, first, c.binding(), c.sim.randomBytes(scramNonceBytes))
	x.user = a
	c.session.scram = x
	return scramResponse("SERVER_FIRST_RESPONSE", x.serverFirst, nil), nil
}

// binding returns the channel binding: the hash of the certificate that the client received, or nil without TLS.
func (c *call) binding() []byte {
	if !c.session.peer.tls {
		return nil
	}
	return c.sim.cert
}

func (s *Sim) accountNamed(username, id string) *account {
	for _, a := range s.accounts {
		if a.key.Username == username && a.id == id {
			return a
		}
	}
	return nil
}

// randomBytes returns bytes that depend on the seed. The caller holds the lock.
func (s *Sim) randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.random.UintN(256))
	}
	return b
}

// UseCertificate sets the TLS certificate of the simulator's server, in DER, for channel binding. Serve calls it.
func (s *Sim) UseCertificate(der []byte) error {
	hash, err := endPoint(der)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert = hash
	return nil
}

// endPoint returns the tls-server-end-point of RFC 5929, section 4.1: the certificate hashed with the hash of its signature, or
// with SHA-256 instead of MD5 or SHA-1.
func endPoint(der []byte) ([]byte, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	hash := crypto.SHA256
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write(der)
	return h.Sum(nil), nil
}
