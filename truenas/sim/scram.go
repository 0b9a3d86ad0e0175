package sim

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/xdg-go/stringprep"
)

// SCRAM is RFC 5802 with SHA-512 and TrueNAS's variations: the name is "<user>:<key id>", the password is the key after its first
// "-", nonces are 32 bytes in base64, and the combined nonce is the base64 of the bytes of both nonces, so its text does not
// begin with the client's nonce.

const scramNonceBytes = 32

// scramKeys are the keys that a server stores instead of a password.
type scramKeys struct {
	salt       []byte
	iterations int
	stored     []byte
	server     []byte
}

// newScramKeys derives the keys. Its duration depends on the iterations.
func newScramKeys(secret string, salt []byte, iterations int) (*scramKeys, error) {
	salted, err := pbkdf2.Key(sha512.New, secret, salt, iterations, sha512.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the keys of SCRAM: %w", err)
	}
	stored := sha512.Sum512(sign(salted, "Client Key"))
	return &scramKeys{salt, iterations, stored[:], sign(salted, "Server Key")}, nil
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha512.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// scramFirst is a client's first message.
type scramFirst struct {
	gs2      string // the header, such as "n,,"
	bare     string // the message without the header
	username string
	keyID    string
	nonce    []byte
}

// parseScramFirst parses "n,,n=<user>:<key id>,r=<nonce>". It refuses "y", which a client sends if it supports channel binding
// and believes that the server does not: a man in the middle has removed the server's support.
func parseScramFirst(message string) (scramFirst, bool) {
	part := strings.SplitN(message, ",", 3)
	if len(part) != 3 || part[1] != "" || part[0] != "n" && part[0] != "p=tls-server-end-point" {
		return scramFirst{}, false
	}
	f := scramFirst{gs2: part[0] + ",,", bare: part[2]}
	name, nonce, ok := strings.Cut(f.bare, ",")
	text, isName := strings.CutPrefix(name, "n=")
	nonce, isNonce := strings.CutPrefix(nonce, "r=")
	if !ok || !isName || !isNonce {
		return scramFirst{}, false
	}
	text = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(text)
	i := strings.LastIndex(text, ":")
	if i < 0 {
		return scramFirst{}, false
	}
	var err error
	f.nonce, err = base64.StdEncoding.DecodeString(nonce)
	if err != nil || len(f.nonce) != scramNonceBytes {
		return scramFirst{}, false
	}
	f.username, err = stringprep.SASLprep.Prepare(text[:i])
	f.keyID = text[i+1:]
	return f, err == nil
}

// scramExchange is a login that awaits the client's final message.
type scramExchange struct {
	user        *account
	keys        *scramKeys
	first       scramFirst
	binding     []byte // hash of the server's certificate; nil without TLS
	serverFirst string
	nonce       string // both nonces combined
}

// newScramExchange makes the server's first message.
func newScramExchange(keys *scramKeys, first scramFirst, binding, nonce []byte) *scramExchange {
	combined := base64.StdEncoding.EncodeToString(append(bytes.Clone(first.nonce), nonce...))
	return &scramExchange{
		keys: keys, first: first, binding: binding, nonce: combined,
		serverFirst: fmt.Sprintf("r=%s,s=%s,i=%d", combined, base64.StdEncoding.EncodeToString(keys.salt), keys.iterations),
	}
}

// final checks the client's final message and returns the server's.
func (x *scramExchange) final(message string) (string, bool) {
	i := strings.LastIndex(message, ",p=")
	if i < 0 {
		return "", false
	}
	without := message[:i]
	proof, err := base64.StdEncoding.DecodeString(message[i+len(",p="):])
	if err != nil || len(proof) != sha512.Size {
		return "", false
	}
	header := []byte(x.first.gs2)
	if strings.HasPrefix(x.first.gs2, "p=") {
		if x.binding == nil {
			return "", false
		}
		header = append(header, x.binding...)
	}
	if without != "c="+base64.StdEncoding.EncodeToString(header)+",r="+x.nonce {
		return "", false
	}
	auth := x.first.bare + "," + x.serverFirst + "," + without
	clientKey := make([]byte, sha512.Size)
	subtle.XORBytes(clientKey, proof, sign(x.keys.stored, auth))
	stored := sha512.Sum512(clientKey)
	if subtle.ConstantTimeCompare(stored[:], x.keys.stored) != 1 {
		return "", false
	}
	return "v=" + base64.StdEncoding.EncodeToString(sign(x.keys.server, auth)), true
}
