"""What ``make demo`` shows: a configuration, a sample database for Datasette and a notebook for JupyterLab.

The apps are the real Datasette and JupyterLab, unmodified; the tenant is :mod:`isolation.testing.tenant`.
"""
