module github.com/ovl-restore/ovl-restore

go 1.26.0
