package omni

import (
	"context"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

// served is an Omni that serves boot assets: the factory's, behind a login that only Omni knows.
type served struct {
	factory string
	formats string
}

func (s *served) DiskAsset(_ context.Context, q AssetQuery) (Asset, error) {
	if !strings.Contains(s.formats, q.Format) {
		return Asset{}, nil
	}
	return Asset{
		URL:     s.factory + "/image/" + q.Schematic + "/" + q.TalosVersion + "/nocloud-amd64." + q.Format,
		Headers: map[string]string{"Authorization": "Basic b21uaTpzZWNyZXQ="}, // omni:secret
		Key:     "asset-" + q.Schematic + q.TalosVersion + q.Format,
	}, nil
}

// Omni says where a boot asset is and which headers go with it; they appear nowhere on the NAS.
func TestBootAssetsFromOmni(t *testing.T) {
	for _, tt := range []struct{ name, formats, want string }{{"zst", "raw.zst raw.xz", ".raw.zst"}, {"xz only", "raw.xz", ".raw.xz"}} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
				w.factory.SetLogin("omni", "secret")
				w.cfg.Assets = &served{factory: w.url, formats: tt.formats}
				_, stop := w.start()
				w.request("one", class)
				w.request("two", class)
				w.provisioned("one")
				w.provisioned("two")
				stop()
				fetched := w.factory.Fetched()
				if len(fetched) != 1 || !strings.HasSuffix(fetched[0], tt.want) {
					t.Errorf("fetched %v; want one %s", fetched, tt.want)
				}
				for _, d := range nas.State().Datasets {
					for key, value := range d.User {
						if strings.Contains(value, "b21uaTpzZWNyZXQ") || strings.Contains(value, "secret") {
							t.Errorf("%s of %s holds the login", key, d.Name)
						}
					}
				}
			})
		})
	}
}

// An older Omni does not serve boot assets: images come from the factory, as before.
func TestOmniWithoutBootAssets(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.Assets = none{}
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	stop()
}

type none struct{}

func (none) DiskAsset(context.Context, AssetQuery) (Asset, error) { return Asset{}, ErrNoAssets }

// A factory that wants a login gets it in a header; without one the request says what is wrong.
func TestFactoryWithALogin(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		w.factory.SetLogin("homelab", "secret")
		w.cfg.Logins = map[string]Login{w.url + "/": {"homelab", "secret"}, "https://other.example": {"other", "secret-2"}}
		_, stop := w.start()
		w.request("one", class)
		w.complete(nas, "one")
		stop()
		for _, d := range nas.State().Datasets {
			for key, value := range d.User {
				if strings.Contains(value, "secret") || strings.Contains(value, "Basic") {
					t.Errorf("%s of %s holds the login", key, d.Name)
				}
			}
		}
	})
}

// A published checksum is passed on and compared; a wrong one is a failure of the request.
func TestPublishedChecksum(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.factory.PublishChecksums()
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	w.goesAway(nas, "one")
	other, err := standin.Image("raw.xz")
	if err != nil {
		t.Fatal(err)
	}
	w.factory.SetImage("raw.zst", other) // Not what the checksum is of.
	w.request("two", strings.Replace(class, "tank", "tank", 1)+"secure_boot: true\n")
	w.failed("two", "checksum")
	stop()
}

func TestLoginsArePrintedNowhere(t *testing.T) {
	if text := strings.Join([]string{Login{"a", "secret"}.String(), Login{"a", "secret"}.GoString()}, " "); strings.Contains(text, "secret") {
		t.Error(text)
	}
}
