package httpapi

import "time"

// SetPatience makes slow clients slow at once. It is called before the first request.
func (a *API) SetPatience(d time.Duration) { a.patience = patience{d, d, d, d} }
