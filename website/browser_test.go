package website

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A look is one way in which people see the site.
type look struct {
	name          string
	width, height int64
	phone, dark   bool
}

var looks = []look{
	{"desktop-light", 1280, 800, false, false},
	{"phone-dark", 390, 844, true, true},
	{"desktop-dark", 1280, 800, false, true},
	{"phone-light", 390, 844, true, false},
}

// wholly are the pages that are opened in every look in the short form, too: the first one, a reference, a guide and one
// with a diagram.
var wholly = []string{"/index.html", "/reference/configuration.html", "/guides/multi-hub.html", "/architecture/write-path.html"}

// A visit sees one page in one look.
type visit struct {
	page string
	look look
}

// visits are all pages, the looks taking turns; with DURATION set, all pages in all looks.
func visits(pages []string) []visit {
	slices.Sort(pages)
	var all []visit
	for j, l := range looks { // the pages of a look one after the other: to change the theme takes a reload
		for i, page := range pages {
			if i%len(looks) == j || slices.Contains(wholly, page) || os.Getenv("DURATION") != "" {
				all = append(all, visit{page, l})
			}
		}
	}
	return all
}

// TestInTheBrowser opens the pages in Chromium and holds what a reader would notice: errors on the console, requests that
// fail or go to another host, what axe-core finds serious, and pages that are wider than the phone.
func TestInTheBrowser(t *testing.T) {
	server := serveSite(t)
	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("axe-core isn't installed: run make site-modules: %v", err)
	}
	var pages []string
	for name := range documents(t) {
		pages = append(pages, name)
	}
	for _, page := range wholly {
		if !slices.Contains(pages, page) {
			t.Errorf("%s is no page: mend the list in this test", page)
		}
	}
	tab := openTab(t, server)
	folder := screenshots(t)
	for _, v := range visits(pages) {
		t.Run(v.look.name+v.page, func(t *testing.T) {
			tab.see(t, v)
			tab.checkWidth(t)
			tab.checkAxe(t, string(axe))
			tab.shoot(t, filepath.Join(folder, v.look.name+strings.ReplaceAll(strings.TrimSuffix(v.page, ".html"), "/", "-")+".png"))
			tab.checkQuiet(t)
		})
	}
}

// TestSearchThemeAndMenu uses what moves on the site as a reader does.
func TestSearchThemeAndMenu(t *testing.T) {
	tab := openTab(t, serveSite(t))

	t.Run("search", func(t *testing.T) {
		tab.see(t, visit{"/index.html", looks[0]})
		tab.do(t,
			chromedp.Click(chromedp.CSS("#local-search button")),
			chromedp.WaitVisible(chromedp.CSS("#localsearch-input")),
			chromedp.SendKeys(chromedp.CSS("#localsearch-input"), "lineage"),
			chromedp.WaitVisible(chromedp.CSS(".VPLocalSearchBox .result")),
			chromedp.Click(chromedp.CSS(".VPLocalSearchBox .result")),
			chromedp.WaitNotPresent(chromedp.CSS(".VPLocalSearchBox")),
		)
		tab.until(t, "the page that was found", `location.pathname !== '/index.html' && document.querySelector('main').innerText.toLowerCase().includes('lineage')`)
		tab.checkQuiet(t)
	})
	t.Run("theme", func(t *testing.T) {
		tab.see(t, visit{"/guarantees.html", looks[0]})
		tab.do(t, chromedp.Click(chromedp.CSS(".VPNavBarAppearance .VPSwitchAppearance")))
		tab.until(t, "the dark theme", `document.documentElement.classList.contains('dark')`)
		tab.do(t, chromedp.Reload())
		tab.until(t, "the dark theme after a reload", `document.documentElement.classList.contains('dark')`)
		evaluate[bool](t, tab, `localStorage.clear(), true`)
		tab.checkQuiet(t)
	})
	t.Run("menu of a phone", func(t *testing.T) {
		tab.see(t, visit{"/guides/multi-hub.html", looks[3]})
		tab.do(t,
			chromedp.Click(chromedp.CSS(".VPLocalNav .menu")),
			chromedp.WaitVisible(chromedp.CSS(`.VPSidebar.open a[href="/glossary.html"]`)),
		)
		tab.still(t)
		tab.do(t, chromedp.Click(chromedp.CSS(`.VPSidebar.open a[href="/glossary.html"]`)))
		tab.until(t, "the glossary", `location.pathname === '/glossary.html' && !document.querySelector('.VPSidebar.open')`)
		tab.still(t)
		tab.do(t,
			chromedp.Click(chromedp.CSS(".VPNavBarHamburger")),
			chromedp.WaitVisible(chromedp.CSS(`.VPNavScreen a[href="/concepts/"]`)),
		)
		tab.still(t)
		tab.do(t, chromedp.Click(chromedp.CSS(`.VPNavScreen a[href="/concepts/"]`)))
		tab.until(t, "the concepts", `location.pathname.startsWith('/concepts/')`)
		tab.checkQuiet(t)
	})
}

// serveSite serves the built site as any server of files does.
func serveSite(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.FileServer(http.Dir(builtSite(t))))
	t.Cleanup(server.Close)
	return server
}

// screenshots is the folder for them: SITE_SCREENSHOTS, or the test's own, which is thrown away.
func screenshots(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("SITE_SCREENSHOTS")
	if folder == "" {
		return t.ArtifactDir()
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// A tab is a page of the browser, and what went wrong on it.
type tab struct {
	ctx    context.Context
	server *httptest.Server

	mu    sync.Mutex
	wrong []string
}

// openTab starts Chromium, which ends with the test.
func openTab(t *testing.T, server *httptest.Server) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("Chromium isn't there: run make bootstrap")
	}
	ctx, cancelTime := context.WithTimeout(t.Context(), time.Hour)
	ctx, cancelBrowser := chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.WSURLReadTimeout(2*time.Minute),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), // containers give it 64 MiB
	)
	ctx, cancelTab := chromedp.NewContext(ctx)
	t.Cleanup(func() { cancelTab(); cancelBrowser(); cancelTime() })
	tb := &tab{ctx: ctx, server: server}
	if err := chromedp.Listen(ctx, tb.listen); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	return tb
}

// listen notes what went wrong.
func (tb *tab) listen(event any) {
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || (u.Scheme != "data" && u.Scheme != "blob" && "http://"+u.Host != tb.server.URL) {
			tb.note("a request to another host: " + e.Request.URL)
		}
	case *network.EventResponseReceived:
		if e.Response.Status >= http.StatusBadRequest {
			tb.note(fmt.Sprintf("%s answers %v", e.Response.URL, e.Response.Status))
		}
	case *network.EventLoadingFailed:
		if !e.Canceled {
			tb.note("a request failed: " + e.ErrorText)
		}
	case *runtime.EventExceptionThrown:
		tb.note("an exception: " + e.ExceptionDetails.Text + " " + exception(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			tb.note(fmt.Sprintf("the console's %s: %s", e.Type, said(e.Args)))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			tb.note("the browser's log: " + e.Entry.Text + " " + e.Entry.URL)
		}
	}
}

// said is the text of what was written to the console.
func said(args []*runtime.RemoteObject) string {
	var words []string
	for _, a := range args {
		words = append(words, string(a.Value)+a.Description)
	}
	return strings.Join(words, " ")
}

// exception is what was thrown.
func exception(details *runtime.ExceptionDetails) string {
	if details.Exception == nil {
		return ""
	}
	return details.Exception.Description
}

func (tb *tab) note(problem string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.wrong = append(tb.wrong, problem)
}

// checkQuiet fails on what went wrong since the last time.
func (tb *tab) checkQuiet(t *testing.T) {
	t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, problem := range tb.wrong {
		t.Error(problem)
	}
	tb.wrong = nil
}

// do runs steps, with patience for a slow machine.
func (tb *tab) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// evaluate runs a script on the page; a promise is waited for.
func evaluate[T any](t *testing.T, tb *tab, script string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, 2*time.Minute)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// until waits for an expression to be true.
func (tb *tab) until(t *testing.T, what, expression string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, 2*time.Minute)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(0))); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// still waits until nothing on the page moves: a click on what slides in would miss it.
func (tb *tab) still(t *testing.T) {
	t.Helper()
	tb.until(t, "the end of all animations", `document.getAnimations().every(animation => animation.playState !== 'running')`)
}

// see opens a page in a look and waits until the page's script runs.
func (tb *tab) see(t *testing.T, v visit) {
	t.Helper()
	var options []chromedp.EmulateViewportOption
	if v.look.phone {
		options = append(options, chromedp.EmulateMobile)
	}
	tb.do(t, chromedp.EmulateViewport(v.look.width, v.look.height, options...), chromedp.Navigate(tb.server.URL+v.page))
	theme := "light"
	if v.look.dark {
		theme = "dark"
	}
	if evaluate[string](t, tb, `localStorage.getItem('vitepress-theme-appearance') ?? ''`) != theme {
		evaluate[bool](t, tb, `localStorage.setItem('vitepress-theme-appearance', '`+theme+`'), true`)
		tb.do(t, chromedp.Reload())
	}
	tb.until(t, "the page's script", `document.readyState === 'complete' && !!document.querySelector('#app')?.__vue_app__`)
	if dark := evaluate[bool](t, tb, `document.documentElement.classList.contains('dark')`); dark != v.look.dark {
		t.Errorf("the dark theme is %v, want %v", dark, v.look.dark)
	}
}

// checkWidth fails where the page scrolls sideways.
func (tb *tab) checkWidth(t *testing.T) {
	t.Helper()
	if over := evaluate[int](t, tb, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
		t.Errorf("the page is %d pixels too wide", over)
	}
}

// checkAxe fails on what axe-core finds serious.
func (tb *tab) checkAxe(t *testing.T, axe string) {
	t.Helper()
	evaluate[bool](t, tb, axe+"\n;true")
	for _, violation := range evaluate[[]string](t, tb, `axe.run(document, {resultTypes: ['violations']}).then(result => result.violations
		.filter(v => v.impact === 'serious' || v.impact === 'critical')
		.map(v => v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 5).map(n => n.target + ' ' + n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join('\n\t')))`) {
		t.Error("axe-core: " + violation)
	}
}

// shoot writes what the window shows.
func (tb *tab) shoot(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, 2*time.Minute)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		t.Fatal(err)
	}
}
