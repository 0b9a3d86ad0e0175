package redfish

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzBody sends arbitrary bodies to all operations with a body. The service survives each, and every refusal has a message.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"ResetType":"On"}`, `{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`, `{"Image":"http://a/b.iso"}`,
		`{"Boot":null}`, `{"Boot":[{}]}`, `{"a":1,"a":2}`, `{"ResetType":1e999}`, `[`, `{"@odata.id":"x"}`, "{\"\xff\":0}",
	} {
		f.Add(seed)
	}
	w := newWorld(f)
	token := w.logIn("root", password).header.Get(headerToken)
	f.Fuzz(func(t *testing.T, body string) {
		for path, method := range map[string]string{
			"/redfish/v1/Systems/" + webID:                                                        http.MethodPatch,
			"/redfish/v1/Systems/" + webID + resetPath:                                            http.MethodPost,
			"/redfish/v1/Managers/" + webID + "/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia": http.MethodPost,
			"/redfish/v1/Managers/" + webID + "/VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia":  http.MethodPost,
			pathSessions + "/none":                                                                http.MethodDelete,
		} {
			checkAnswer(t, w, method, path, token, body)
		}
	})
}

// FuzzPath requests paths.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/redfish/v1/", "/redfish/v1/Systems/" + webID, "/redfish/v1/Systems/%2e%2e/x", "//", "/redfish//v1", "/redfish/v1/Systems/" + webID + "/Storage/0/Drives/disk0", "/redfish/v1/Systems/{system}"} {
		f.Add(seed)
	}
	w := newWorld(f)
	token := w.logIn("root", password).header.Get(headerToken)
	f.Fuzz(func(t *testing.T, path string) {
		for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodDelete} {
			checkAnswer(t, w, method, path, token, "{}")
		}
	})
}

func checkAnswer(t *testing.T, w *world, method, path, token, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://bmc", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if req.URL.Path, req.URL.RawPath = path, ""; strings.Contains(path, "%") {
		req.URL.RawPath = path
	}
	req.Header.Set(headerToken, token)
	answer := httptest.NewRecorder()
	w.service.ServeHTTP(answer, req)
	if answer.Code >= 500 && answer.Code != http.StatusNotImplemented {
		t.Errorf("%s %q %q: %d %s", method, path, body, answer.Code, answer.Body)
	}
	if answer.Code >= 400 && !strings.Contains(answer.Body.String(), `"MessageId":"`+registry+".") {
		t.Errorf("%s %q %q: %d without a message: %s", method, path, body, answer.Code, answer.Body)
	}
}
