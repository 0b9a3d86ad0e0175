package truenas

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
)

// SCRAM-SHA-512 as in RFC 5802, with TrueNAS's variations: the user name is followed by the key's
// number, the password is the key after its first "-", and the combined nonce is base64 of the
// bytes of both nonces, so that it does not start with the text of the client's nonce.
const (
	scramNonce   = 32 // bytes
	scramMinIter = 50_000
	scramMaxIter = 5_000_000
)

// scramKeys caches slow key derivations, by salt and count. The key itself does not change during
// the life of a client.
type scramKeys map[string]scramKey

type scramKey struct{ client, server []byte }

type scram struct {
	secret  string
	gs2     string // header
	binding []byte // channel binding data
	nonce   []byte
	bare    string // first message without the header

	message []byte // AuthMessage
	server  []byte // ServerKey
}

func newScram(user, apiKey string, binding []byte) (*scram, error) {
	nonce := make([]byte, scramNonce)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return newScramNonce(user, apiKey, binding, nonce)
}

func newScramNonce(user, apiKey string, binding, nonce []byte) (*scram, error) {
	name, err := stringprep.SASLprep.Prepare(user)
	if err != nil {
		return nil, &Error{Method: loginMethod, Reason: "the user name cannot be sent: " + err.Error(), kind: ErrAuth}
	}
	number, secret, ok := strings.Cut(apiKey, "-")
	if !ok {
		return nil, &Error{Method: loginMethod, Reason: "the API key has no number", kind: ErrAuth}
	}
	x := &scram{secret: secret, gs2: "n,,", binding: binding, nonce: nonce}
	if binding != nil {
		x.gs2 = "p=tls-server-end-point,,"
	}
	name = strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name)
	x.bare = "n=" + name + ":" + number + ",r=" + base64.StdEncoding.EncodeToString(nonce)
	return x, nil
}

func (x *scram) first() string { return x.gs2 + x.bare }

// final answers the server's first message with the proof.
func (x *scram) final(serverFirst string, keys scramKeys) (string, error) {
	nonce, salt, count, err := x.parse(serverFirst)
	if err != nil {
		return "", err
	}
	key, err := keys.derive(x.secret, salt, count)
	if err != nil {
		return "", err
	}
	bound := base64.StdEncoding.EncodeToString(append([]byte(x.gs2), x.binding...))
	unproved := "c=" + bound + ",r=" + nonce
	x.message = []byte(x.bare + "," + serverFirst + "," + unproved)
	x.server = key.server
	stored := sha512.Sum512(key.client)
	proof := make([]byte, len(key.client))
	subtle.XORBytes(proof, key.client, mac(stored[:], x.message))
	return unproved + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// parse reads r=…,s=…,i=… and refuses values that no real server sends.
func (x *scram) parse(message string) (nonce string, salt []byte, count int, err error) {
	parts := strings.Split(message, ",")
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "r=") || !strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return "", nil, 0, scramError("the server's first message is malformed")
	}
	nonce = parts[0][2:]
	combined, err := base64.StdEncoding.DecodeString(nonce)
	if err != nil || !bytes.HasPrefix(combined, x.nonce) || len(combined) < 2*scramNonce {
		return "", nil, 0, scramError("the server's nonce does not continue ours")
	}
	salt, err = base64.StdEncoding.DecodeString(parts[1][2:])
	if err != nil || len(salt) == 0 {
		return "", nil, 0, scramError("the server's salt is malformed")
	}
	count, err = strconv.Atoi(parts[2][2:])
	if err != nil || count < scramMinIter || count > scramMaxIter {
		return "", nil, 0, scramError(fmt.Sprintf("the server's iteration count is not between %d and %d", scramMinIter, scramMaxIter))
	}
	return nonce, salt, count, nil
}

// verify checks the server's proof that it knows the key.
func (x *scram) verify(serverFinal string) error {
	text, ok := strings.CutPrefix(serverFinal, "v=")
	if !ok {
		return scramError("the server's last message is malformed")
	}
	text, _, _ = strings.Cut(text, ",")
	signature, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !hmac.Equal(signature, mac(x.server, x.message)) {
		return scramError("server signature mismatch: the server does not know the API key")
	}
	return nil
}

func (k scramKeys) derive(secret string, salt []byte, count int) (scramKey, error) {
	name := string(salt) + "/" + strconv.Itoa(count)
	if key, ok := k[name]; ok {
		return key, nil
	}
	salted, err := pbkdf2.Key(sha512.New, secret, salt, count, sha512.Size)
	if err != nil {
		return scramKey{}, err
	}
	key := scramKey{client: mac(salted, []byte("Client Key")), server: mac(salted, []byte("Server Key"))}
	clear(k) // a NAS has one salt at a time
	k[name] = key
	return key, nil
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha512.New, key)
	h.Write(message)
	return h.Sum(nil)
}

func scramError(text string) error { return &Error{Method: loginMethod, Reason: text, kind: ErrAuth} }

// endPoint is the channel binding of RFC 5929, section 4.1: the certificate hashed with the hash of
// its signature, but at least SHA-256. It is nil without TLS.
func endPoint(cert *x509.Certificate) []byte {
	if cert == nil {
		return nil
	}
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		sum := sha512.Sum384(cert.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		sum := sha512.Sum512(cert.Raw)
		return sum[:]
	}
	sum := sha256.Sum256(cert.Raw)
	return sum[:]
}
