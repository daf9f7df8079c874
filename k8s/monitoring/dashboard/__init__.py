"""The Grafana dashboard: one module per row, ``panels`` the kinds of panel they are made of, ``board`` the whole."""
