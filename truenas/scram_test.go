package truenas

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The exchanges were recorded from an independent implementation.
const (
	vectorUser  = "svc"
	vectorKey   = "7-AAAAAAAAAAb3D_b3D_b3D_b3D_b3D_b3D_b3D_b3D_b3D_b3D_b3D_b3D_b3D_zz"
	vectorNonce = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	vectorFirst = "r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9kZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8fX5/gIGCgw==,s=yMnKy8zNzs/Q0dLT1NXW1w==,i=500000"
)

func decode64(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestScramVectors(t *testing.T) {
	keys := scramKeys{}
	for _, tt := range []struct{ name, binding, first, final, server string }{
		{
			name:   "without channel binding",
			first:  "n,,n=svc:7,r=" + vectorNonce,
			final:  "c=biws,r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9kZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8fX5/gIGCgw==,p=nseekewTqvprhOS8CVhpEYPeBZ9VQKiuvIpu3Y+W8KijfBLwXtBUPe03e3Ap9a+u6cHy3hWeplGTRLSY/90drg==",
			server: "v=kpskbJPSyC4avrW67+whGV19+j9OavBTnVMhy4oude8qRoS/JZ9S6VbngNrEheUm+UfP++LICrS1k3ZcUBcrxA==",
		},
		{
			name:    "bound to the server's certificate",
			binding: "gazXYhQPppKhQoItL75NxvVLyqUB9oqzflru0Lr+TZk=",
			first:   "p=tls-server-end-point,,n=svc:7,r=" + vectorNonce,
			final:   "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsgazXYhQPppKhQoItL75NxvVLyqUB9oqzflru0Lr+TZk=,r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9kZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8fX5/gIGCgw==,p=TFB+MpgzVmYddrQv+Hw+l6BS9UoK/MYD41jR+f9nH/RRMkdXskasHdBjSyVcB3rcjUgHeJ+C0RYrLDFRQbHdKw==",
			server:  "v=i7KeIcCU1gOGpi2uMx24ifqVdItcTW0IL+Bm612GxhWAsFllk8XN+22biCQBomuArde4EThh7N0nJOo+NW9zNg==",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var binding []byte
			if tt.binding != "" {
				binding = decode64(t, tt.binding)
			}
			x, err := newScramNonce(vectorUser, vectorKey, binding, decode64(t, vectorNonce))
			if err != nil {
				t.Fatal(err)
			}
			if got := x.first(); got != tt.first {
				t.Errorf("first message %q", got)
			}
			final, err := x.final(vectorFirst, keys)
			if err != nil || final != tt.final {
				t.Errorf("final message %q, %v", final, err)
			}
			if err := x.verify(tt.server); err != nil {
				t.Errorf("the server's signature: %v", err)
			}
			if err := x.verify("v=" + base64.StdEncoding.EncodeToString(make([]byte, 64))); !errors.Is(err, ErrAuth) {
				t.Errorf("a server without the key: %v", err)
			}
		})
	}
	if len(keys) != 1 {
		t.Errorf("the key was derived %d times", len(keys))
	}
}

func TestScramRefuses(t *testing.T) {
	salt := ",s=yMnKy8zNzs/Q0dLT1NXW1w=="
	nonce := strings.SplitN(vectorFirst, ",", 2)[0]
	for _, tt := range []struct{ name, message string }{
		{"another nonce", "r=" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + salt + ",i=500000"},
		{"only the client's nonce", "r=" + vectorNonce + salt + ",i=500000"},
		{"a nonce whose text begins with ours, but not its bytes", "r=" + strings.TrimSuffix(vectorNonce, "=") + "AAAA" + salt + ",i=500000"},
		{"too few iterations", nonce + salt + ",i=49999"},
		{"too many iterations", nonce + salt + ",i=5000001"},
		{"no salt", nonce + ",s=,i=500000"},
		{"a mandatory extension", "m=x," + vectorFirst},
		{"an error", "e=invalid-proof"},
		{"a nonce only", nonce},
		{"no iteration count", nonce + salt},
		{"a first part of another kind", "x" + strings.TrimPrefix(nonce, "r") + salt + ",i=500000"},
		{"a second part of another kind", nonce + ",x" + strings.TrimPrefix(salt, ",s") + ",i=500000"},
		{"a third part of another kind", nonce + salt + ",x=500000"},
		{"nothing", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := newScramNonce(vectorUser, vectorKey, nil, decode64(t, vectorNonce))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.final(tt.message, scramKeys{}); !errors.Is(err, ErrAuth) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestScramNames(t *testing.T) {
	x, err := newScramNonce("a=b,ⅸ", "12-secret-with-dashes", nil, make([]byte, scramNonce))
	if err != nil {
		t.Fatal(err)
	}
	if want := "n=a=3Db=2Cix:12,"; !strings.HasPrefix(x.bare, want) {
		t.Errorf("%q does not begin with %q", x.bare, want)
	}
	if x.secret != "secret-with-dashes" {
		t.Error("the password is not the part of the key after its first dash")
	}
	if _, err := newScramNonce("a\u0007", "1-x", nil, nil); !errors.Is(err, ErrAuth) {
		t.Errorf("a control character: %v", err)
	}
}

func TestEndPoint(t *testing.T) {
	for _, tt := range []struct {
		name string
		algo x509.SignatureAlgorithm
		size int
	}{
		{"SHA-1 is not good enough", x509.SHA1WithRSA, 32},
		{"SHA-256", x509.ECDSAWithSHA256, 32},
		{"SHA-384", x509.ECDSAWithSHA384, 48},
		{"SHA-512 with PSS", x509.SHA512WithRSAPSS, 64},
		{"no hash of its own", x509.PureEd25519, 32},
	} {
		if got := endPoint(&x509.Certificate{SignatureAlgorithm: tt.algo}); len(got) != tt.size {
			t.Errorf("%s: %d bytes", tt.name, len(got))
		}
	}
	if endPoint(nil) != nil {
		t.Error("channel binding without TLS")
	}
}

// The smallest and the largest iteration count are allowed.
func TestScramIterations(t *testing.T) {
	nonce := strings.SplitN(vectorFirst, ",", 2)[0]
	for _, count := range []int{scramMinIter, scramMaxIter} {
		x, err := newScramNonce(vectorUser, vectorKey, nil, decode64(t, vectorNonce))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, got, err := x.parse(fmt.Sprintf("%s,s=yMnKy8zNzs/Q0dLT1NXW1w==,i=%d", nonce, count)); err != nil || got != count {
			t.Errorf("%d: got %d, %v", count, got, err)
		}
	}
}
